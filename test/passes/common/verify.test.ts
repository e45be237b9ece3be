import { describe, expect, it } from 'vitest';
import { constant, type Graph, type Model, Node, Value } from '../../../src/graph/model.ts';
import { tensorOf } from '../../../src/graph/tensor.ts';
import { parseText } from '../../../src/parser/index.ts';
import { verify } from '../../../src/passes/common/verify.ts';
import { coded } from '../../support/coded.ts';

const text = `<ir_version: 10, opset_import: ["" : 18]>
main (float[2,3] x, bool c) => (float[2,3] y) <float[3] w = {1, 2, 3}>
{
  [one] a = Neg (x)
  [two] b = If (c) <then_branch = t () => (r) { [in] r = Mul (a, w) }, else_branch = e () => (s) { s = Mul (x, w) }>
  [three] y = Add (a, b)
}`;

function broken(change: (graph: Graph, model: Model) => void, ...fragments: string[]): void {
  const model = parseText(text);
  verify(model);
  change(model.graph, model);
  expect(() => verify(model)).toThrow(expect.toSatisfy(coded('BAD_MODEL', ...fragments)));
}

function at<T>(list: readonly T[], index: number): T {
  const item = list.at(index);
  if (item === undefined) throw new Error('the text has changed');
  return item;
}

describe('verify finds', () => {
  it('a value that is read before it is made', () => {
    broken((g) => g.nodes.reverse(), 'node "three"', '"a"', 'not defined before');
  });
  it('a value that nothing makes', () => {
    broken((g) => at(g.nodes, 0).setInput(0, new Value('lost')), 'node "one"', '"lost"');
  });
  it('a value of another body', () => {
    broken((g) => at(g.nodes, 2).setInput(1, at(at(at(g.nodes, 1).bodies, 0).outputs, 0)), 'node "three"', '"r"');
  });
  it('two values of one name', () => {
    broken((g) => {
      at(at(g.nodes, 0).outputs, 0).name = 'x';
    }, '"x"');
  });
  it('a name that hides the value which is meant', () => {
    broken(
      (g) => {
        const body = at(at(g.nodes, 1).bodies, 0);
        const hiding = constant('a', tensorOf('float32', [], [1]));
        body.initializers.push(hiding);
      },
      'node "in"',
      '"a"',
      'shadows',
    );
  });
  it('a value with two definitions', () => {
    broken((g) => g.inputs.push(at(g.initializers, 0), at(g.initializers, 0)), '"w"');
    broken((g) => g.initializers.push(at(g.initializers, 0)), '"w"', 'twice');
    broken((g) => at(g.nodes, 1).outputs.push(at(at(g.nodes, 0).outputs, 0)), '"a"');
  });
  it('an output that nothing makes', () => {
    broken((g) => g.outputs.push(new Value('q')), 'output "q"');
  });
  it('lists of uses that are wrong', () => {
    broken((g) => at(g.inputs, 0).uses.clear(), '"x"', 'uses');
    broken((g) => at(g.inputs, 0).uses.add({ node: at(g.nodes, 2), index: 0 }), '"x"', 'three');
  });
  it('a node that does not know its graph', () => {
    broken(
      (g) => g.nodes.push(new Node({ op: 'Neg', name: 'loose', inputs: [at(g.inputs, 0)], outputs: [new Value('l')] })),
      'loose',
    );
  });
  it('a body that two nodes hold', () => {
    broken(
      (g) => {
        const body = at(at(g.nodes, 1).bodies, 0);
        at(g.nodes, 1).attrs.set('else_branch', { kind: 'graph', value: body });
      },
      'node "two"',
      'body',
    );
  });
  it('too many and missing inputs', () => {
    broken((g) => at(g.nodes, 0).setInput(1, at(g.inputs, 0)), 'node "one" (Neg)', '2 inputs');
    broken((g) => at(g.nodes, 2).setInput(1, undefined), 'node "three" (Add)', 'lacks its input "B"');
  });
  it('a domain that is not imported', () => {
    broken(
      (g) => {
        at(g.nodes, 0).domain = 'mine';
      },
      'node "one"',
      '"mine"',
    );
  });
  it('an internal node that was not lowered', () => {
    broken(
      (g) => {
        at(g.nodes, 0).domain = 'loraify';
      },
      'node "one"',
      'was not lowered',
    );
  });
});

describe('verify allows', () => {
  it('nodes of the compiler between passes', () => {
    const model = parseText(text);
    at(model.graph.nodes, 0).domain = 'loraify';
    verify(model, { internal: true });
  });
  it('defaults that a caller can replace, and names of one body used again in another', () => {
    verify(
      parseText(`<ir_version: 3, opset_import: ["" : 11]> main (float[2] x, float[2] w, bool c) => (float[2] y) <float[2] w = {1, 2}>
        { y = If (c) <then_branch = t () => (r) { r = Mul (x, w) }, else_branch = e () => (r) { r = Neg (x) }> }`),
    );
  });
  it('older forms of operators', () => {
    verify(
      parseText(
        `<ir_version: 3, opset_import: ["" : 9]> main (float[2] x) => (float[1,2] y) { y = Unsqueeze <axes = [0]> (x) }`,
      ),
    );
  });
  it('operators that the table does not know', () => {
    verify(
      parseText(`<ir_version: 8, opset_import: ["" : 18]> main (float[2,3] x, float[3] s) => (float[2,3] y)
        { y = SimplifiedLayerNormalization (x, s) }`),
    );
  });
  it('uses by bodies of nodes that were never adopted', () => {
    const model = parseText(text);
    const other = parseText(text);
    at(at(at(other.graph.nodes, 1).bodies, 0).nodes, 0).setInput(1, at(model.graph.inputs, 0));
    verify(model);
  });
});
