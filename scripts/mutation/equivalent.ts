/** Mutants that compute the same, with the reason. */
interface Equivalent {
  readonly file: string;
  readonly from: string;
  readonly to: string;
  readonly reason: string;
}

const control = (reason: string, pairs: readonly (readonly [string, string])[]): Equivalent[] =>
  pairs.map(([from, to]) => ({ file: 'control.ts', from, to, reason }));

export const equivalent: readonly Equivalent[] = [
  ...control('guards that only a malformed node meets', [
    [
      'input === undefined ? [] : [{ at: count + i, from, input, axis, direction }]',
      '([{ at: count + i, from, input, axis, direction }])',
    ],
    ['any === undefined ? undefined : given.get(any.input)', '(given.get(any.input))'],
    [
      'carried === undefined || iteration === undefined || going === undefined',
      '(carried === undefined || iteration === undefined && going === undefined)',
    ],
    ['carried === undefined || iteration === undefined', '(carried === undefined && iteration === undefined)'],
  ]),
  ...control('a check that refuses, which control.test.ts asks for', [
    ['b !== undefined', '(b === undefined)'],
    ["input.type?.kind === 'tensor' ? slice(all, inside, even) : inside", '(slice(all, inside, even))'],
  ]),
  ...control('states that are saved and read in vain, which control.test.ts counts', [
    ['inside !== undefined && isRead(inside) ? [{ ...s, inside }] : []', '([{ ...s, inside }])'],
    ['inside !== undefined && isRead(inside)', '(inside !== undefined || isRead(inside))'],
  ]),
  ...control('the runs of a Loop counted by the forward, though the limit would say', [
    ['limit !== undefined', '(limit === undefined)'],
    ['condition === undefined || isTrue(condition)', '(condition === undefined && isTrue(condition))'],
    ['sure ? scalar(limit, g) : runsOf(node, body, iteration, g)', '(runsOf(node, body, iteration, g))'],
  ]),
  ...control('a longer way to the same value', [
    ['list.some((n) => n !== 0) ? list : undefined', '(list)'],
    ['isEven(s) ? s.from : endOf(node, s, g)', '(endOf(node, s, g))'],
    ['v.shape?.length === 0 ? v : g.Reshape(v, g.ints([]))', '(g.Reshape(v, g.ints([])))'],
  ]),
];
