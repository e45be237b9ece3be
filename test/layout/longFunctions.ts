/** Functions of src/ with more than 60 lines, each with the reason why it is the clearest form. */

/** Lines of a function, its signature included. */
export const mostLines = 60;

/** Entries that the table below may have. */
export const mostLong = 10;

/** By file and name; a function without a name is called by the first argument of the call that takes it. */
export const longFunctions: Readonly<Record<string, string>> = {
  'src/formats/pythonRegex.ts translateBody':
    'a parser whose rules all read and move one position and one list of groups',
  'src/passes/autodiff/gradients/contribAttention.ts com.microsoft.GroupQueryAttention':
    'the kernel written out, step by step in its own order',
  'src/passes/autodiff/gradients/control.ts Loop': 'one node and its body, made of the same states, parts and sums',
  'src/passes/autodiff/gradients/control.ts Scan': 'one node and its body, made of the same states, parts and sums',
  'src/passes/normalize/bind/caches.ts look': 'one switch over operators',
  'src/passes/optimize/flattenRows.ts flattenRows': 'one walk that rewrites node by node',
};
