/** Mutants that are equivalent to the source, with the reason. */
interface Equivalent {
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** The source text from there on, if the same text occurs elsewhere in the file. */
  readonly at?: string;
  readonly reason: string;
}

const control = (reason: string, pairs: readonly (readonly [string, string])[]): Equivalent[] =>
  pairs.map(([from, to]) => ({ file: 'control.ts', from, to, reason }));

/** From, to, and where. */
type Change = readonly [from: string, to: string, at?: string];
const of =
  (reason: string) =>
  (file: string, ...changes: readonly Change[]): Equivalent[] =>
    changes.map(([from, to, at]) => ({ file, from, to, reason, ...(at === undefined ? {} : { at }) }));

const otherForm = of('another form of the same is taken, which gives equal numbers');
const notRewritten = of('a form that is not found stays as it is, which computes the same');
const fromTheEnd = of('an index below zero counts from the end, and comes to the same element');

const calculus: readonly Equivalent[] = [
  ...otherForm('contribFused.ts', ['g.rank(x) - 1', 'g.rank(x) + 1']),
  ...otherForm('gradients/norm.ts', ['g.rank(x0) - first', 'g.rank(x0) + first']),
  ...otherForm('spatial.ts', ['last - 1', 'last + 1', 'last - 1) return g.MatMul(g.T(matrix)']),
  ...otherForm('windows.ts', ['2 * w.begins.length', '2 / w.begins.length']),
  ...otherForm('overClasses.ts', ['rank - 1', 'rank + 1', 'rank - 1;']),
  ...notRewritten(
    'matMul.ts',
    ['rank - 1', 'rank + 1', 'rank - 1 ? rank - 2'],
    ['rank - 2', 'rank + 2', 'rank - 2 : i'],
    ['rank - 2', 'rank + 2', 'rank - 2 ? rank - 1'],
    ['rank - 1', 'rank + 1', 'rank - 1 : i'],
  ),
  ...notRewritten('groupedHeads.ts', ['groups * count', 'groups / count']),
  ...notRewritten(
    'sliceToSplit.ts',
    ['a.from - b.from', 'a.from + b.from'],
    ['i - 1', 'i + 1'],
    ['axis + rank', 'axis - rank'],
    ['i + length', 'i - length'],
  ),
  ...of('the factor comes back onto the operand that it was on')(
    'rowFactors.ts',
    ['1', '0', '1, width: widthOf(b)'],
    ['0', '1', '0, width: widthOf(a)'],
  ),
  ...of('nodes are put in order behind')('halfActivations.ts', [
    'graph.nodes.indexOf(node) + 1',
    'graph.nodes.indexOf(node) - 1',
  ]),
  ...of('which products of thin matrices compute in the half type: either is within its rounding')(
    'halfActivations.ts',
    ['4 * of', '4 / of'],
  ),
  ...of('the other of alpha and beta is zero as well, and so is the product')(
    'cells.ts',
    ['0', '1', '0,\n    beta: 0'],
    ['0', '1', '0,\n    apply'],
  ),
  ...of('it broadcasts')('overClasses.ts', ['0', '1', '0 });\n  const weighted =']),
  ...of('nothing is divided by it')('overClasses.ts', ['1', '-(1)', '1), weight);']),
  ...of('it ends behind the last element')('overClasses.ts', ['2 ** 31 - 1', '2 ** 31 + 1']),
  ...of('a longer polynomial is refused behind')('gelu.ts', [
    'a.length + b.length',
    'a.length - b.length',
    'a.length + b.length > 5',
  ]),
  ...of('it bounds the work alone')('gelu.ts', ['depth - 1', 'depth + 1']),
  ...of('multiples are whole with either sign')('lossScale.ts', [
    'lossScaling.growthInterval',
    '-(lossScaling.growthInterval)',
  ]),
  ...fromTheEnd('indexing.ts', ['i + list.length', 'i - list.length']),
  ...fromTheEnd('spatial.ts', ['i + list.length', 'i - list.length']),
  ...fromTheEnd('sampling.ts', ['at + 2', 'at - 2', 'at + 2), edge(at))']),
  ...fromTheEnd('sampling.ts', ['i + 2', 'i - 2', 'i + 2), linear)']),
  ...of('an axis whose length stays is not resampled, whatever its region')(
    'spatial.ts',
    ['0', '1', '0), own(roi, i + list.length)'],
    ['1', '-(1)', '1)].map((v) =>'],
  ),
  ...of('the matrix is symmetric')('spatial.ts', ['g.T(identity)', 'identity']),
  ...of('any number but zero does: where there is one zero it is divided out again')('indexing.ts', [
    '1',
    '-(1)',
    "1)];\n  if (reduction === 'mul')",
  ]),
  ...of('a walk sums each gradient to the shape of its value')('indexing.ts', [
    'g.reshapeLike(g.Sub(total(dy), total(dx)), value)',
    'g.Sub(total(dy), total(dx))',
  ]),
  ...of('types are inferred before gradients are asked for')('quantized.ts', ['g.CastLike(dy, x)', 'undefined']),
  ...of('it is reshaped behind')('linear.ts', ['0', '1', '0 }) : v;']),
  ...of('it is reshaped behind')('shapeTools.ts', ['1', '0', '1, noop_with_empty_axes: 1 }), target']),
  ...of('a cut of the whole length')('quantized.ts', ['blocks * block', 'blocks / block', 'blocks * block === K']),
  ...of('x is zero there')('reduce.ts', ['0', '1', '0), g.Div(dy, y))']),
  ...of('the other half of the spectrum is cut off')('signal.ts', ['1', '0', '1 }), scale);']),
  ...of('places are whole numbers')('sampling.ts', [
    'g.Ceil(g.Mul(g.Add(low, one), bin))',
    'g.Mul(g.Add(low, one), bin)',
  ]),
  ...of('shifts by 0 and 4: 4 / 0 counts as 0')(
    'unpackNBits.ts',
    ['4 * (i & 1)', '4 / (i & 1)'],
    ['4 * (at & 1)', '4 / (at & 1)'],
  ),
];

export const equivalent: readonly Equivalent[] = [
  ...calculus,
  ...control('guards that only a malformed node meets', [
    [
      'input === undefined ? [] : [{ at: count + i, from, input, axis, direction }]',
      '[{ at: count + i, from, input, axis, direction }]',
    ],
    ['any === undefined ? undefined : given.get(any.input)', 'given.get(any.input)'],
    [
      'carried === undefined || iteration === undefined || going === undefined',
      'carried === undefined || iteration === undefined && going === undefined',
    ],
    ['carried === undefined || iteration === undefined', 'carried === undefined && iteration === undefined'],
  ]),
  ...control('the runs of a Loop counted by the forward, though the limit would say', [
    ['limit !== undefined', 'limit === undefined'],
    ['condition === undefined || isTrue(condition)', 'condition === undefined && isTrue(condition)'],
    ['sure ? scalar(limit, g) : runsOf(node, body, iteration, g)', 'runsOf(node, body, iteration, g)'],
  ]),
  ...control('a longer way to the same value', [
    ['list.some((n) => n !== 0) ? list : undefined', 'list'],
    ['isEven(s) ? s.from : endOf(node, s, g)', 'endOf(node, s, g)'],
    ['v.shape?.length === 0 ? v : g.Reshape(v, g.ints([]))', 'g.Reshape(v, g.ints([]))'],
  ]),
];
