/** What the walk does around the rules: sums, pruning, several outputs, refusals. */
import { describe, expect, it } from 'vitest';
import { type Builder, createBuilder } from '../../src/graph/builder.ts';
import { Graph, tensorType, Value } from '../../src/graph/model.ts';
import { gradients } from '../../src/passes/autodiff/index.ts';
import { gradTools } from '../../src/passes/common/shapeTools.ts';
import { inferNode } from '../../src/passes/shapes/index.ts';
import { coded } from '../support/coded.ts';
import { checkGraph, type Mode, modes, normal, type Outcome, variables } from '../support/gradients/harness.ts';

type Shapes = Readonly<Record<string, readonly number[]>>;

/** Checks a graph of several operators in one mode. */
async function checkOf(
  shapes: Shapes,
  build: (g: Builder, ...v: Value[]) => Value | readonly Value[],
  mode: Mode = 'static',
  opset = 18,
  type: 'float64' | 'float32' = 'float64',
): Promise<Outcome> {
  const graph = new Graph('walk');
  const g = createBuilder(inferNode, graph.inputs);
  const { values, inputs } = variables(graph, shapes, mode, normal, type);
  const outputs = [build(g, ...values)].flat();
  const exactly = type === 'float64' ? { step: 1e-3, tolerance: 1e-9 } : { step: 2e-2, tolerance: 5e-4 };
  return checkGraph({ graph, g, outputs, inputs, wrt: values, opset, type, mode, exact: false, ...exactly });
}

describe('the walk', () => {
  it.each(modes)('adds what reaches a value on several ways (%s)', async (mode) => {
    await checkOf(
      { x: [2, 3], w: [3, 3] },
      (g, x = fail(), w = fail()) => {
        const h = g.Tanh(g.MatMul(x, w));
        return g.Add(g.Mul(h, x), g.Mul(h, h));
      },
      mode,
    );
  });

  it('adds over several outputs, one of them an input of the other', async () => {
    await checkOf({ x: [2, 3] }, (g, x = fail()) => {
      const h = g.Exp(x);
      return [h, g.Mul(h, x), g.Identity(x)];
    });
  });

  it.each(modes)('sums over broadcast axes at every step (%s)', async (mode) => {
    await checkOf(
      { a: [2, 1, 3], b: [4, 1], c: [] },
      (g, a = fail(), b = fail(), c = fail()) => {
        const sum = g.Add(a, b);
        return g.Mul(g.Tanh(sum), c);
      },
      mode,
    );
  });

  it('takes an axis for broadcast by its own length, though another axis has its symbol', async () => {
    await checkOf({ x: [3, 1], of: [1, 3, 5] }, (g, x = fail(), of = fail()) => g.Mul(x, of), 'symbolic');
  });

  it.each(modes)('passes through a decomposition whose inputs are one value (%s)', async (mode) => {
    await checkOf(
      { x: [2, 3, 4, 5] },
      (g, x = fail()) => {
        const [y = fail()] = g.node({ op: 'Attention', inputs: [x, x, x], outputs: 1 });
        return g.Mul(g.Tanh(y), x);
      },
      mode,
      23,
      'float32',
    );
  });

  it('a value asked for cuts the way: what lies before it is not visited', () => {
    const g = createBuilder(inferNode);
    const x = new Value('x', tensorType('float64', [3]));
    const bad = g.node({ op: 'Mystery', domain: 'nobody', inputs: [x], outputs: 1 })[0] ?? fail();
    bad.type = tensorType('float64', [3]);
    const y = g.Exp(bad);
    expect(gradients({ g, seeds: [[y, g.like(y, 1)]], wrt: [bad] }).has(bad)).toBe(true);
    expect(() => gradients({ g, seeds: [[y, g.like(y, 1)]], wrt: [x] })).toThrow(
      expect.toSatisfy(coded('NO_GRADIENT', 'nobody.Mystery')),
    );
  });

  it('a refusal names the node and the way to the loss', () => {
    const g = createBuilder(inferNode);
    const x = new Value('x', tensorType('float64', [3]));
    const [bad = fail()] = g.node({ op: 'Mystery', domain: 'nobody', inputs: [x], outputs: 1 });
    const y = g.Exp(g.Tanh(bad));
    try {
      gradients({ g, seeds: [[y, y]], wrt: [x] });
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: 'NO_GRADIENT', node: 'Mystery' });
      expect(String(error instanceof Error && 'where' in error ? error.where : '')).toMatch(
        /Mystery .*-> Tanh .*-> Exp /,
      );
    }
  });

  it('a refusal says what is missing for an operator that is known', () => {
    const g = createBuilder(inferNode);
    const x = new Value('x', tensorType('float32', [3, 3]));
    const [y = x] = g.node({ op: 'BiasAdd', domain: 'com.microsoft', inputs: [x, x, x], outputs: 1 });
    expect(() => gradients({ g, seeds: [[y, y]], wrt: [x] })).toThrow(
      expect.toSatisfy(coded('NO_GRADIENT', 'com.microsoft.BiasAdd: of CUDA only')),
    );
  });

  it('an operator off the way is no reason to refuse', () => {
    const g = createBuilder(inferNode);
    const x = new Value('x', tensorType('float64', [3]));
    const other = new Value('other', tensorType('float64', [3]));
    const [bad = fail()] = g.node({ op: 'Mystery', domain: 'nobody', inputs: [other], outputs: 1 });
    const found = gradients({ g, seeds: [[g.Mul(x, bad), other]], wrt: [x] });
    expect(found.has(x)).toBe(true);
  });

  it('what the outputs do not depend on, or only through a stopped operator, is absent', () => {
    const g = createBuilder(inferNode);
    const [x = fail(), z = fail()] = ['x', 'z'].map((n) => new Value(n, tensorType('float64', [3])));
    const y = g.Mul(g.Floor(x), g.Identity(z));
    const found = gradients({ g, seeds: [[y, y]], wrt: [x, z] });
    expect([...found.keys()]).toEqual([z]);
  });

  it('nothing flows through a stopped value', async () => {
    const graph = new Graph('stop');
    const g = createBuilder(inferNode, graph.inputs);
    const { values } = variables(graph, { x: [3] });
    const [x = fail()] = values;
    const tools = gradTools(g, () => fail());
    const found = gradients({ g, seeds: [[g.Mul(tools.stop(x), x), g.like(x, 1)]], wrt: [x] });
    // d(stop(x)·x) = stop(x) alone.
    const dx = found.get(x) ?? fail();
    expect(dx.producer?.op).toBe('Mul');
    expect(dx.producer?.inputs[1]?.producer?.op).toBe('Identity');
  });

  it('a rule for the first output only refuses a gradient of another', () => {
    const g = createBuilder(inferNode);
    const x = new Value('x', tensorType('float64', [2, 3]));
    const [y = fail(), mean = fail()] = g.node({ op: 'LayerNormalization', inputs: [x, x], outputs: 2 });
    expect(() => gradients({ g, seeds: [[mean, mean]], wrt: [x] })).toThrow(
      expect.toSatisfy(coded('NO_GRADIENT', 'first output')),
    );
    expect(() =>
      gradients({
        g,
        seeds: [
          [y, y],
          [mean, mean],
        ],
        wrt: [x],
      }),
    ).toThrow(expect.toSatisfy(coded('NO_GRADIENT', 'output 1')));
  });

  it('marks the nodes it makes with the rule and the node they differentiate', () => {
    const g = createBuilder(inferNode);
    const x = new Value('x', tensorType('float64', [3]));
    const y = g.within({ origin: 'act' }, () => g.Tanh(x));
    const dx = gradients({ g, seeds: [[y, y]], wrt: [x] }).get(x) ?? fail();
    expect(dx.producer?.metadata.get('loraify.rule')).toBe('grad/Tanh');
    expect(dx.producer?.metadata.get('loraify.grad_of')).toBe(y.producer?.name);
  });
});

function fail(): never {
  throw new Error('missing');
}
