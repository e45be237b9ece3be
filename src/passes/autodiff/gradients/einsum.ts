/** Einsum: the gradient of an operand is an Einsum of dy with the others. */
import { unsupportedShape } from '../../../errors.ts';
import type { Value } from '../../../graph/model.ts';
import { grad } from '../rules.ts';

const alphabet = [...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'];

/**
 * Subscripts of the operands and of the result, which is alphabetical over what occurs once where it is not written. An ellipsis
 * becomes letters of its own, aligned at the right.
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

grad('Einsum', ({ node, inputs, attrs: { equation = '' }, dy, g }) => {
  const { operands, result } = subscripts(
    equation,
    inputs.map((x) => () => g.rank(x)),
  );
  return inputs.map((x, i): Value => {
    const own = [...(operands[i] ?? '')];
    if (new Set(own).size < own.length)
      throw unsupportedShape(`Einsum "${equation}" takes a diagonal, whose gradient is missing`, { node: node.label });
    const others = operands.filter((_, j) => j !== i);
    const known = new Set([result, ...others].join(''));
    const to = own.filter((c) => known.has(c)).join('');
    const partial = g.Einsum([dy, ...inputs.filter((_, j) => j !== i)], {
      equation: `${[result, ...others].join(',')}->${to}`,
    });
    // What only this operand has was summed over: dy is the same along it.
    const missing = own.flatMap((c, axis) => (known.has(c) ? [] : [axis]));
    return missing.length === 0 ? partial : g.Expand(g.Unsqueeze(partial, g.ints(missing)), g.shapeOf(x));
  });
});
