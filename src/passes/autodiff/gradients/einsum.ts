/** Einsum: the gradient of an operand is an Einsum of dy with the others. */
import type { Builder } from '../../../graph/builder.ts';
import type { Value } from '../../../graph/model.ts';
import type { GradTools } from '../../common/shapeTools.ts';
import { grad } from '../rules.ts';

const alphabet = [...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'];

/**
 * Subscripts of the operands and of the result; a missing result has the labels that occur once, in alphabetical order.
 * An ellipsis becomes separate letters, aligned at the right.
 */
function subscripts(equation: string, ranks: readonly (() => number)[]): { operands: string[]; result: string } {
  const [left = '', right] = equation.replaceAll(' ', '').split('->');
  const terms = left.split(',');
  const letters = [...left.replaceAll(/[.,]/g, '')].sort();
  const once = letters.filter((c) => letters.indexOf(c) === letters.lastIndexOf(c));
  const result = right ?? `...${once.join('')}`;
  const free = alphabet.filter((c) => !equation.includes(c));
  const widths = terms.map((t, i) => (t.includes('.') ? (ranks[i]?.() ?? 0) - (t.length - 3) : 0));
  const spell = (term: string, width: number): string =>
    term.replace(
      '...',
      free
        .slice(0, Math.max(...widths))
        .slice(Math.max(...widths) - width)
        .join(''),
    );
  return { operands: terms.map((t, i) => spell(t, widths[i] ?? 0)), result: spell(result, Math.max(...widths)) };
}

grad('Einsum', ({ inputs, attrs: { equation = '' }, dy, g }) => {
  const { operands, result } = subscripts(
    equation,
    inputs.map((x) => () => g.rank(x)),
  );
  return inputs.map((x, i): Value => {
    const own = [...(operands[i] ?? '')];
    const others = operands.filter((_, j) => j !== i);
    const known = new Set([result, ...others].join(''));
    const isFirst = (c: string, axis: number): boolean => own.indexOf(c) === axis;
    const to = own.filter((c, axis) => known.has(c) && isFirst(c, axis)).join('');
    const partial = g.Einsum([dy, ...inputs.filter((_, j) => j !== i)], {
      equation: `${[result, ...others].join(',')}->${to}`,
    });
    const apart = own.flatMap((c, axis) => (known.has(c) && isFirst(c, axis) ? [] : [axis]));
    if (apart.length === 0) return partial;
    // A letter that occurs twice took a diagonal: the gradient is zero off it.
    const placed = own.reduce(
      (d, c, axis) => (isFirst(c, axis) ? d : g.Where(diagonal(g, x, own.indexOf(c), axis), d, g.like(d, 0))),
      g.Unsqueeze(partial, g.ints(apart)),
    );
    // Labels of only this operand were summed over: dy is constant along them.
    return g.Expand(placed, g.shapeOf(x));
  });
});

/** A bool mask, true where the positions along two axes of x are equal; the other axes have dim 1. */
function diagonal(g: Builder & GradTools, x: Value, first: number, second: number): Value {
  const along = (axis: number): Value =>
    g.Unsqueeze(
      g.Range(g.int(0), g.scalar(g.length(x, axis)), g.int(1)),
      g.ints(g.axesFrom(x, 0).filter((a) => a !== axis)),
    );
  return g.Equal(along(first), along(second));
}
