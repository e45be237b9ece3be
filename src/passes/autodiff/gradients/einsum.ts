/** Einsum: the gradient of an operand is an Einsum of dy with the others. */
import { unsupportedShape } from '../../../errors.ts';
import type { Value } from '../../../graph/model.ts';
import { grad } from '../rules.ts';

/** Subscripts of the operands and of the result, which is alphabetical over what occurs once where it is not written. */
function subscripts(equation: string): { operands: string[]; result: string } {
  const [left = '', right] = equation.replaceAll(' ', '').split('->');
  const operands = left.split(',');
  if (right !== undefined) return { operands, result: right };
  const letters = [...left.replaceAll('...', '').replaceAll(',', '')].sort();
  const once = letters.filter((c) => letters.indexOf(c) === letters.lastIndexOf(c));
  return { operands, result: `${left.includes('...') ? '...' : ''}${once.join('')}` };
}

grad('Einsum', ({ node, inputs, attrs: { equation = '' }, dy, g }) => {
  const { operands, result } = subscripts(equation);
  return operands.map((own, i): Value | undefined => {
    const x = inputs[i];
    if (x === undefined) return undefined;
    const letters = [...own.replace('...', '')];
    if (new Set(letters).size < letters.length)
      throw unsupportedShape(`Einsum "${equation}" takes a diagonal, whose gradient is missing`, { node: node.label });
    const others = operands.filter((_, j) => j !== i);
    const known = new Set([result, ...others].join(''));
    // What only this operand has was summed over: dy is the same along it.
    const reached = letters.filter((c) => known.has(c));
    const dots = own.includes('...') && known.has('.') ? '...' : '';
    const to = own.includes('...')
      ? own.replace(/\.\.\.|[a-zA-Z]/g, (c) => (c === '...' ? dots : known.has(c) ? c : ''))
      : reached.join('');
    const terms = inputs.filter((_, j) => j !== i);
    const partial = g.Einsum([dy, ...terms], { equation: `${[result, ...others].join(',')}->${to}` });
    if (reached.length === letters.length && (dots !== '' || !own.includes('...'))) return partial;
    if (own.includes('...')) throw unsupportedShape(`Einsum "${equation}" sums over an ellipsis`, { node: node.label });
    const missing = letters.flatMap((c, axis) => (known.has(c) ? [] : [axis]));
    return g.Expand(g.Unsqueeze(partial, g.ints(missing)), g.shapeOf(x));
  });
});
