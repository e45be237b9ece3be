// `npm run docs`: writes docs/operators.md from the tables of gradients, shapes and layers.
import { realpathSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const head = `# Operators

What a compile does with each operator that it knows. \`loraify inspect --grad MODEL\` says the same for one model: which operators lie between
its layers and the loss, how each is differentiated, and what stands in the way.

- **rule**: a closed form of the derivative, one or a few nodes.
- **decomposition**: the forward keeps the operator; the backward differentiates a body of simpler operators.
- **stopped**: nothing passes, on purpose. The derivative is zero or there is none; the note says why.
- **missing**: no gradient yet; the note says what it takes. Where a gradient has to pass such a node, a compile ends with
  [\`NO_GRADIENT\`](errors.md#no_gradient). Anywhere else in a model it does no harm.

An operator marked **layer** can have an adapter where one of its operands is a constant weight.

Operators stand in their newest form up to opset 26; older forms are brought to it before gradients are derived. Gradients pass floating-point
values only: an integer or boolean operand or result of any operator (indices, axes, masks) carries none. Operators of other domains than those
below are kept as they are in \`model.onnx\`; in a training graph no gradient passes them. Model-local functions are inlined first.

This page is generated from the tables by \`npm run docs\`.
`;

const states = ['rule', 'decomposition', 'stopped', 'missing'];

/** The page, from the entries { domain, op, gradient, note, layer } of the tables, sorted by domain and name. */
export function operatorsPage(operators) {
  const domains = [...new Set(operators.map((s) => s.domain))];
  const sections = domains.flatMap((domain) => {
    const rows = operators.filter((s) => s.domain === domain);
    const counts = states.map((g) => `${rows.filter((s) => s.gradient === g).length} ${g}`);
    return [
      `## ${domain === '' ? 'ai.onnx' : domain}`,
      '',
      `${rows.length} operators: ${counts.join(', ')}.`,
      '',
      '| operator | gradient | note |',
      '|---|---|---|',
      ...rows.map(({ op, gradient, note, layer }) => {
        const text = [...(layer ? ['**layer**'] : []), ...(note === '' ? [] : [note])].join('; ');
        return `| ${op} | ${gradient} | ${text.replaceAll('|', '\\|')} |`;
      }),
      '',
    ];
  });
  return [head, ...sections].join('\n');
}

const self = fileURLToPath(import.meta.url);
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === self) {
  const { operatorStates } = await import('../dist/passes/index.js');
  writeFileSync(new URL('../docs/operators.md', import.meta.url), operatorsPage(operatorStates()));
}
