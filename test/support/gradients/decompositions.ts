/** What a decomposition computes, against the node it stands for. */
import type { createBuilder } from '../../../src/graph/builder.ts';
import type { Graph, Node, Value } from '../../../src/graph/model.ts';
import { decomposition } from '../../../src/passes/autodiff/rules.ts';
import { gradTools } from '../../../src/passes/common/shapeTools.ts';
import { type feedsOf, modelOf, numbers, session } from './harness.ts';

/** A check beside the tables. */
export interface Extra {
  readonly is: string;
  /** Operators whose rules it checks. */
  readonly ops: readonly string[];
  /** Results are compared, no gradient is measured. */
  readonly forward?: true;
  readonly run: () => Promise<void>;
}

/** The results of an operator's body on these inputs. */
export function bodyOf(node: Node, g: ReturnType<typeof createBuilder>): readonly (Value | undefined)[] {
  const body = decomposition(node);
  const [dy] = node.outputs;
  if (body === undefined || dy === undefined) throw new Error(`${node.op} has no body`);
  const refuse = (v: Value): never => {
    throw new Error(`rank of ${v.name}`);
  };
  const tools = Object.assign({}, g, gradTools(g, refuse));
  const around = { dy, dys: [], captured: [], active: new Set<Value>(), onward: { behind: () => [] } };
  return body.apply({ node, inputs: node.inputs, outputs: node.outputs, attrs: node.attrs, g: tools, ...around });
}

/** Both values are the same but for rounding to float32. */
export async function expectSame(
  graph: Graph,
  pairs: readonly (readonly [Value, Value])[],
  opset: number,
  feeds: ReturnType<typeof feedsOf>,
): Promise<void> {
  graph.outputs.push(...pairs.flat());
  graph.adopt();
  const running = await session(modelOf(graph, opset));
  const got = await running.run(feeds);
  for (const [own, other] of pairs) {
    const [a, b] = [got[own.name], got[other.name]];
    if (a === undefined || b === undefined) throw new Error('no result');
    if (a.dims.join() !== b.dims.join()) throw new Error(`[${a.dims}] against [${b.dims}]`);
    const expected = numbers(a);
    numbers(b).forEach((v, i) => {
      const e = expected[i] ?? Number.NaN;
      if (!(v === e || Math.abs(v - e) <= 2e-6 * (1 + Math.abs(e)))) throw new Error(`${v} at ${i}, expected ${e}`);
    });
  }
  await running.release();
}
