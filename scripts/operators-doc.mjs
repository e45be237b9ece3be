// `npm run docs`: writes docs/reference/operators.md from the tables of gradients, shapes and layers. The page keeps the figures of the numeric
// gradient checks, which `npm run figures` measures.
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

This page is generated from the tables by \`npm run docs\`, and cases and errors are measured by \`npm run figures\`.
`;

/** The page. */
export const operatorsFile = new URL('../docs/reference/operators.md', import.meta.url);

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

/** The figures { cases, error } by operator that a page holds. */
export function figuresOf(page) {
  const figures = new Map();
  let domain = '';
  for (const line of page.split('\n')) {
    const section = /^## (.+)$/.exec(line)?.[1];
    if (section !== undefined) domain = section === 'ai.onnx' ? '' : `${section}.`;
    const row = /^\| (\w+) \| \w+ \| (\d+) \| ([\d.e+-]+) \|/.exec(line);
    if (row !== null) figures.set(domain + row[1], { cases: Number(row[2]), error: Number(row[3]) });
  }
  return figures;
}

const self = fileURLToPath(import.meta.url);
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === self) {
  const { operatorStates } = await import('../dist/passes/index.js');
  writeFileSync(operatorsFile, operatorsPage(operatorStates(), figuresOf(readFileSync(operatorsFile, 'utf8'))));
}
