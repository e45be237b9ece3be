// `npm run docs`: writes docs/reference/operators.md from the tables of gradients, shapes and layers.
import { readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const head = `# Operators

What a compile does with each operator that it knows. \`loraify inspect --grad MODEL\` shows the same for one model: the
operators between its layers and the loss, how each is differentiated, and what blocks the gradient.

- **rule**: a closed form of the derivative, one or a few nodes.
- **decomposition**: the forward keeps the operator; the backward differentiates a body of simpler operators.
- **stopped**: no gradient passes, on purpose. The derivative is zero or does not exist; the note gives the reason.
- **missing**: no gradient yet; the note says what it needs. If a gradient has to pass such a node, a compile ends
  with [\`NO_GRADIENT\`](errors.md#no_gradient). Anywhere else in a model the node does no harm.

Each rule and each decomposition is compared with finite differences of what ONNX Runtime computes. **cases** counts
combinations of shapes, attributes and types, most of them with static, symbolic and unknown dimensions. **error**
bounds the worst case, relative to the size of the gradient: about 1e-9 if ONNX Runtime has kernels for float64, else
what differences of float32 give.

An operator marked **layer** can have an adapter if one of its operands is a constant weight.

Operators have their newest form up to opset 26; older forms are upgraded before gradients are derived. Gradients pass
floating-point values only: integer and boolean operands and results (indices, axes, masks) have none. Operators of
other domains than those below are kept as they are in \`model.onnx\`; in a training graph no gradient passes them.
Model-local functions are inlined first.

This page is generated from the tables by \`npm run docs\`.
`;

const states = ['rule', 'decomposition', 'stopped', 'missing'];

/**
 * The page, from the entries { domain, op, gradient, note, layer } of the tables, sorted by domain and name, and from the figures
 * { cases, error } by operator.
 */
export function operatorsPage(operators, figures) {
  const domains = [...new Set(operators.map((s) => s.domain))];
  const sections = domains.flatMap((domain) => {
    const rows = operators.filter((s) => s.domain === domain);
    const counts = states.map((g) => `${rows.filter((s) => s.gradient === g).length} ${g}`);
    return [
      `## ${domain === '' ? 'ai.onnx' : domain}`,
      '',
      `${rows.length} operators: ${counts.join(', ')}.`,
      '',
      '| operator | gradient | cases | error | note |',
      '|---|---|---|---|---|',
      ...rows.map(({ op, gradient, note, layer }) => {
        const { cases = '', error } = figures.get(domain === '' ? op : `${domain}.${op}`) ?? {};
        const text = [...(layer ? ['**layer**'] : []), ...(note === '' ? [] : [note])].join('; ');
        const bound = error === undefined ? '' : error.toExponential(0);
        return `| ${op} | ${gradient} | ${cases} | ${bound} | ${text.replaceAll('|', '\\|')} |`;
      }),
      '',
    ];
  });
  return [head, ...sections].join('\n');
}

const self = fileURLToPath(import.meta.url);
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === self) {
  const { operatorStates } = await import('../dist/passes/index.js');
  const recorded = JSON.parse(readFileSync(new URL('../test/gradients/figures.json', import.meta.url), 'utf8'));
  const page = operatorsPage(operatorStates(), new Map(Object.entries(recorded)));
  writeFileSync(new URL('../docs/reference/operators.md', import.meta.url), page);
}
