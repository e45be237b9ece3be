import { describe, expect, it } from 'vitest';
import { type Attr, Graph, Node, Value } from '../../src/graph/model.ts';

const body = (name: string): Attr & { readonly kind: 'graph' } => ({ kind: 'graph', value: new Graph(name) });

describe('the bodies of a node', () => {
  it('follow its attributes', () => {
    const [a, b, c] = [body('a'), body('b'), body('c')];
    const node = new Node({ op: 'If', attrs: [['then_branch', a]] });
    expect(node.bodies).toEqual([a.value]);
    node.attrs.set('else_branch', b);
    expect(node.bodies).toEqual([a.value, b.value]);
    node.attrs.set('then_branch', { kind: 'graphs', value: [c.value, a.value] });
    expect(node.bodies).toEqual([c.value, a.value, b.value]);
    node.attrs.set('then_branch', { kind: 'int', value: 1 });
    expect(node.bodies).toEqual([b.value]);
    node.attrs.delete('else_branch');
    expect(node.bodies).toEqual([]);
    node.attrs.set('body', a);
    node.attrs.clear();
    expect(node.bodies).toEqual([]);
    node.attrs.set('body', c);
    expect(node.bodies).toEqual([c.value]);
  });

  it('and what stands in them follow the node, outer before inner', () => {
    const graph = new Graph('outer');
    const [inner, innermost] = [body('inner'), body('innermost')];
    const node = (name: string, attrs: [string, Attr][] = []): Node =>
      new Node({ op: 'Loop', name, outputs: [new Value(name)], attrs });
    innermost.value.append(node('d'));
    inner.value.append(node('c', [['body', innermost]]), node('e'));
    graph.append(node('a'), node('b', [['body', inner]]), node('f'));
    expect(graph.allNodes().map((n) => n.name)).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
    expect(graph.allGraphs().map((g) => g.name)).toEqual(['outer', 'inner', 'innermost']);
  });
});
