/** The pattern matcher on graphs that the builder makes. */
import { describe, expect, expectTypeOf, it } from 'vitest';
import { type Builder, createBuilder } from '../../../src/graph/builder.ts';
import { Graph, type Node, tensorType, Value } from '../../../src/graph/model.ts';
import {
  absent,
  any,
  anything,
  constant,
  ints,
  maybe,
  oneOf,
  op,
  opOf,
  scalar,
  single,
} from '../../../src/passes/common/pattern.ts';
import { type Finder, NearMisses, pattern } from '../../../src/passes/common/patternSearch.ts';

/** A graph with the inputs a and b, whose outputs `make` gives. */
function graphOf(make: (g: Builder, a: Value, b: Value) => readonly Value[]): Graph {
  const graph = new Graph('pattern');
  const [a, b] = ['a', 'b'].map((name) => new Value(name, tensorType('float32', [2, 4])));
  if (a === undefined || b === undefined) throw new Error('no inputs');
  graph.inputs.push(a, b);
  graph.outputs.push(...make(createBuilder(), a, b));
  graph.adopt();
  return graph;
}

const ops = (nodes: readonly Node[]): string => nodes.map((n) => n.op).join(' ');
/** The operators of every match, the root first. */
const found = (finder: Finder<unknown>, graph: Graph): string[] => [...finder.in(graph)].map((m) => ops(m.nodes));
/** Why the pattern does not match. */
function missed(finder: Finder<unknown>, graph: Graph): string[] {
  const misses = new NearMisses();
  expect([...finder.in(graph, misses)]).toEqual([]);
  return misses.list.map((m) => m.reason);
}

const x = any('x');
const silu = pattern('SiLU', op.Mul(x, op.Sigmoid(oneOf(x, op.Mul(x, scalar('alpha')))).as('s')).as('y'));

describe('a match', () => {
  it('binds values and numbers, of the types that the pattern says', () => {
    const graph = graphOf((g, a) => [g.Mul(a, g.Sigmoid(g.Mul(a, g.float(1.5))))]);
    const [match, ...more] = silu.in(graph);
    expect(more).toEqual([]);
    expectTypeOf(match?.bound).toEqualTypeOf<
      | ({ x: Value } & { readonly alpha: number | undefined; readonly x: Value } & { s: Value } & { y: Value })
      | undefined
    >();
    expect(match?.root.op).toBe('Mul');
    expect(match?.bound.x.name).toBe('a');
    expect(match?.bound.alpha).toBe(1.5);
    expect(match?.bound.s.producer?.op).toBe('Sigmoid');
    expect(match?.bound.y).toBe(graph.outputs[0]);
    expect(match && ops(match.nodes)).toBe('Mul Sigmoid Mul');
  });

  it('is looked for in both orders of commutative operators, and in one of others', () => {
    const both = graphOf((g, a, b) => [g.Mul(g.Sigmoid(g.Mul(g.float(2), a)), a), g.Mul(b, g.Sigmoid(b))]);
    expect(found(silu, both)).toEqual(['Mul Sigmoid Mul', 'Mul Sigmoid']);
    const half = pattern('half', op.Div(x, scalar(2)));
    expect(
      found(
        half,
        graphOf((g, a) => [g.Div(g.float(2), a)]),
      ),
    ).toEqual([]);
    expect(
      found(
        half,
        graphOf((g, a) => [g.Div(a, g.float(2))]),
      ),
    ).toEqual(['Div']);
  });

  it('takes back a choice inside that the outside does not fit', () => {
    // The inner sum fits in both orders, the outer one only where p is b.
    const finder = pattern('nested', op.Sub(op.Add(any('p'), any('q')), op.Neg(any('p'))));
    const graph = graphOf((g, a, b) => [g.Sub(g.Add(a, b), g.Neg(b))]);
    const [match] = finder.in(graph);
    expect(match?.bound.p.name).toBe('b');
    expect(match?.bound.q.name).toBe('a');
  });

  it('has one value for a name that occurs twice', () => {
    const square = pattern('square', op.Mul(x, x));
    expect(
      found(
        square,
        graphOf((g, a) => [g.Mul(a, a)]),
      ),
    ).toEqual(['Mul']);
    expect(
      found(
        square,
        graphOf((g, a, b) => [g.Mul(a, b)]),
      ),
    ).toEqual([]);
  });

  it('begins with names that are bound already', () => {
    const graph = graphOf((g, a, b) => [g.Mul(a, g.Sigmoid(a)), g.Mul(b, g.Sigmoid(b))]);
    const given = { x: graph.inputs[1] };
    const matches = graph.nodes.flatMap((n) => silu.at(n, given) ?? []);
    expect(matches.map((m) => m.bound.y)).toEqual([graph.outputs[1]]);
  });

  it('takes optional inputs as written: left out, absent, or bound either way', () => {
    const full = graphOf((g, a, b) => [g.Gemm(a, b, a)]);
    const short = graphOf((g, a, b) => [g.Gemm(a, b)]);
    const bare = pattern('bare', op.Gemm(x, any('w')));
    expect([found(bare, full), found(bare, short)]).toEqual([[], ['Gemm']]);
    const either = pattern('either', op.Gemm(x, any('w'), maybe('c')));
    expect([...either.in(full), ...either.in(short)].map((m) => m.bound.c?.name)).toEqual(['a', undefined]);
    const clip = pattern('clip', op.Clip(x, absent, single('max')));
    expect(
      found(
        clip,
        graphOf((g, a) => [g.Clip(a, undefined, g.float(6))]),
      ),
    ).toEqual(['Clip']);
    expect(
      found(
        clip,
        graphOf((g, a) => [g.Clip(a, g.float(0), g.float(6))]),
      ),
    ).toEqual([]);
  });

  it('asks for attributes by value and by predicate, with the defaults of the operator', () => {
    const last = pattern('last', op.Softmax(x).attrs({ axis: -1 }));
    const graph = graphOf((g, a) => [g.Softmax(a), g.Softmax(a, { axis: 0 }), g.Softmax(a, { axis: 1 })]);
    expect(found(last, graph)).toHaveLength(1);
    expect(found(pattern('rows', op.Softmax(x).attrs({ axis: (axis) => axis < 1 })), graph)).toHaveLength(2);
  });

  it('tells outputs of a node apart', () => {
    const split = op.Split(x, ints(2, 2)).node('split');
    const gate = pattern('gate', op.Mul(split.output(0), op.Sigmoid(split.output(1))));
    const graph = (swap: boolean) =>
      graphOf((g, a) => {
        const parts = g.node({ op: 'Split', inputs: [a, g.ints([2, 2])], attrs: { axis: 1 }, outputs: 2 });
        const [p = a, q = a] = swap ? parts.toReversed() : parts;
        return [g.Mul(g.Sigmoid(q), p)];
      });
    const [match] = gate.in(graph(false));
    expect(match && ops(match.nodes)).toBe('Mul Split Sigmoid');
    expect(match?.bound.split.op).toBe('Split');
    expect(found(gate, graph(true))).toEqual([]);
  });

  it('takes one node for a name of a node that occurs twice', () => {
    const split = op.Split(anything, ints(2, 2)).node('split');
    const gate = pattern('gate', op.Mul(split.output(0), split.output(1)));
    const halves = (g: Builder, v: Value): readonly Value[] =>
      g.node({ op: 'Split', inputs: [v, g.ints([2, 2])], attrs: { axis: 1 }, outputs: 2 });
    const apart = graphOf((g, a, b) => [g.Mul(halves(g, a)[0] ?? a, halves(g, b)[1] ?? b)]);
    const together = graphOf((g, a) => {
      const [p = a, q = a] = halves(g, a);
      return [g.Mul(p, q)];
    });
    expect(found(gate, together)).toEqual(['Mul Split']);
    expect(found(gate, apart)).toEqual([]);
  });

  it('finds nodes of other domains', () => {
    const finder = pattern('gelu', opOf('com.microsoft', 'Gelu')(x));
    const graph = graphOf((g, a) => [
      ...g.node({ op: 'Gelu', domain: 'com.microsoft', inputs: [a], outputs: 1 }),
      g.Gelu(a),
    ]);
    expect([...finder.in(graph)].map((m) => m.root.domain)).toEqual(['com.microsoft']);
  });
});

describe('a value that is read once', () => {
  const inner = pattern('inner', op.Neg(op.Exp(x).once));

  it('has no other reader, and leaves no graph', () => {
    expect(
      found(
        inner,
        graphOf((g, a) => [g.Neg(g.Exp(a))]),
      ),
    ).toEqual(['Neg Exp']);
    const twice = graphOf((g, a) => {
      const e = g.Exp(a);
      return [g.Neg(e), g.Abs(e)];
    });
    expect(missed(inner, twice)).toEqual(['"Exp" is used by 2 nodes']);
    const leaves = graphOf((g, a) => {
      const e = g.Exp(a);
      return [g.Neg(e), e];
    });
    expect(missed(inner, leaves)).toEqual(['"Exp" is an output of the graph']);
  });

  it('is not read twice by one node', () => {
    const square = pattern('square', op.Mul(op.Exp(x).as('e').once, any('e')));
    const graph = graphOf((g, a) => {
      const e = g.Exp(a);
      return [g.Mul(e, e)];
    });
    expect(missed(square, graph)).toEqual(['"Exp" is used 2 times by "Mul"']);
  });

  it('is made in the graph that reads it, and no body hands it out', () => {
    const graph = graphOf((g, a, b) => {
      const e = g.Exp(a);
      const body = (make: (h: Builder) => Value): Graph => g.body('branch', [], (h) => [make(h)]);
      const [y = b] = g.node({
        op: 'If',
        inputs: [g.constant('bool', [], [1])],
        attrs: { then_branch: body((h) => h.Neg(e)), else_branch: body((h) => h.Abs(b)) },
        outputs: 1,
      });
      return [y];
    });
    const [branch] = graph.nodes.flatMap((n) => n.bodies);
    expect(branch && missed(inner, branch)).toEqual(['"Exp" is made outside of the body that reads it']);
  });
});

describe('a near-miss', () => {
  it.each<[reason: string, make: (g: Builder, a: Value, b: Value) => Value]>([
    [
      '"b" has shape [1], so it is not a scalar',
      (g, a) => g.Mul(a, g.Sigmoid(g.Mul(a, g.constant('float32', [1], [2])))),
    ],
    ['"Mul" reads "a", not "b"', (g, a, b) => g.Mul(b, g.Sigmoid(g.Mul(a, g.float(2))))],
    ['"b" is not a constant number', (g, a, b) => g.Mul(a, g.Sigmoid(g.Mul(a, b)))],
    ['"Sigmoid" reads "Neg", not "a"', (g, a) => g.Mul(a, g.Sigmoid(g.Neg(a)))],
  ])('says %s', (reason, make) => {
    const [told] = missed(
      silu,
      graphOf((g, a, b) => [make(g, a, b)]),
    );
    expect(told?.replace('const.float32x1.2', 'b')).toBe(reason);
  });

  it('says which number a scalar is, which attribute, which input, and the sentence of a condition', () => {
    const half = op.Mul(op.Exp(x), scalar(0.5));
    expect(
      missed(
        pattern('half', half),
        graphOf((g, a) => [g.Mul(g.Exp(a), g.float(0.25))]),
      ),
    ).toEqual(['the scalar "const.float32.0.25" is 0.25, not 0.5']);
    const soft = pattern('soft', op.Neg(op.Softmax(x).attrs({ axis: -1 })));
    expect(
      missed(
        soft,
        graphOf((g, a) => [g.Neg(g.Softmax(a, { axis: 0 }))]),
      ),
    ).toEqual(['axis of "Softmax" is 0, not -1']);
    const gemm = pattern('gemm', op.Neg(op.Gemm(x, any('w'))));
    expect(
      missed(
        gemm,
        graphOf((g, a, b) => [g.Neg(g.Gemm(a, b, b))]),
      ),
    ).toEqual(['"Gemm" also reads "b"']);
    const sums = pattern('sums', op.Neg(op.ReduceSum(x, ints(-1))));
    expect(
      missed(
        sums,
        graphOf((g, a) => [g.Neg(g.ReduceSum(a, g.ints([0])))]),
      ),
    ).toEqual(['"const.int64x1.0" is [0], not [-1]']);
    const flat = op.Neg(op.Exp(x)).where((bound) => bound.x.shape?.length === 1 || `"${bound.x.name}" is not a vector`);
    expect(
      missed(
        pattern('flat', flat),
        graphOf((g, a) => [g.Neg(g.Exp(a))]),
      ),
    ).toEqual(['"a" is not a vector']);
    const weight = op.Neg(op.Exp(constant('w')));
    expect(
      missed(
        pattern('weight', weight),
        graphOf((g, a) => [g.Neg(g.Exp(a))]),
      ),
    ).toEqual(['"a" is not a constant']);
  });

  it('has one deviation, so many nodes as asked for, and no part in a match', () => {
    const two = graphOf((g, a, b) => [g.Mul(g.Exp(a), g.Add(g.Exp(b), g.float(3)))]);
    const strict = op.Mul(op.Exp(x), op.Add(op.Exp(x), scalar(1)));
    expect(missed(pattern('strict', strict), two)).toEqual([]);
    const near = graphOf((g, a) => [g.Mul(g.Exp(a), g.Add(g.Exp(a), g.float(3)))]);
    expect(missed(pattern('strict', strict), near)).toHaveLength(1);
    expect(missed(pattern('strict', strict, { least: 5 }), near)).toEqual([]);
    const misses = new NearMisses();
    expect([...pattern('strict', strict).in(near, misses)]).toEqual([]);
    expect([...pattern('other', op.Mul(anything, anything)).in(near, misses)]).toHaveLength(1);
    expect(misses.list).toEqual([]);
  });
});
