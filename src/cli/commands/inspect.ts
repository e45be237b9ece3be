import type { InspectedGradient, InspectedMemory, Inspection } from '../../index.ts';
import { boundLines, existingLine, headLine, precisionLine } from '../boundText.ts';
import { command } from '../command.ts';
import { compileOptions, libraryOptions, selectionOptions } from '../compileOptions.ts';
import { bytes, count, percent, plural, table } from '../format.ts';
import { flag, table as numberTable, required } from '../options.ts';

export const inspectCommand = command({
  usage: 'inspect <model>',
  describe: 'list the weighted layers and which of them are adapted',
  examples: ['loraify inspect model.onnx', 'loraify inspect model.lora --memory'],
  options: {
    model: required({ positional: true, describe: 'ONNX file or package' }),
    grad: flag({
      describe: 'show how each operator between the layers and the loss is differentiated, and what blocks it',
    }),
    why: flag({
      describe: 'list subgraphs that are a GELU, SiLU, normalization or grouped attention but for one difference',
    }),
    memory: numberTable({
      describe:
        'batch=N,seq=N,...: estimate the memory of a training step with these lengths; steps=K: of K steps in one run',
    }),
    ...selectionOptions,
    optimizer: compileOptions.optimizer,
    for: compileOptions.for,
  },
  async run({ model, grad, why, memory, ...options }, out) {
    const { inspect } = await import('../../index.ts');
    const found = await inspect(model, { ...libraryOptions(options), grad, why, memory });
    for (const text of found.warnings) out.warn(text);
    out.result(page(found), found);
    return 0;
  },
});

function page(found: Inspection): string {
  const {
    file,
    opset,
    irVersion,
    layers,
    skipped,
    loss,
    bound,
    precision,
    totals,
    gradient,
    nearMisses,
    memory,
    existing,
    head,
  } = found;
  const header = ['path', 'operator', 'weight', 'layout', 'in x out', 'rank', 'parameters', 'name from', 'adapted'];
  const rows = layers.map((l) => [
    l.path,
    l.nodes.length > 1 ? `${l.op} x ${l.nodes.length}` : l.op,
    l.weight,
    l.layout,
    `${l.in} x ${l.out}${l.kernel === undefined ? '' : ` (window ${l.kernel.join(' x ')})`}`,
    l.chosen ? String(l.rank) : '',
    l.chosen ? count(l.parameters) : '',
    l.from,
    l.chosen ? 'yes' : `no: ${l.reason ?? ''}`,
  ]);
  const share = totals.total === 0 ? '' : ` (${percent(totals.trainable, totals.total)})`;
  const lines = [
    `${file}: opset ${opset}, IR version ${irVersion}`,
    ...(layers.length === 0 ? ['no weighted operator'] : [table(header, rows)]),
    ...(skipped.length === 0
      ? []
      : [
          'left alone:',
          table(
            ['node', 'operator', 'why'],
            skipped.map((s) => [s.node, s.op, s.reason]),
          ),
        ]),
    `${count(totals.chosen)} of ${plural(totals.layers, 'layer')} adapted, ${count(totals.trainable)} of ${count(totals.total)} parameters trainable${share}`,
    ...(existing === undefined ? [] : [`existing: ${existingLine(existing)}`]),
    ...(head === undefined ? [] : [`head: ${headLine(head)}`]),
    ...(precision === undefined ? [] : [`precision: ${precisionLine(precision)}`]),
    ...boundLines(bound).map((line) => `bound: ${line}`),
    'kind' in loss
      ? `loss: ${loss.kind} on "${loss.tensor}" of output "${loss.output}" (${loss.reason}); --loss and --loss-output change it`
      : `loss: none (${loss.reason})`,
    ...('labels' in loss && loss.labels !== undefined ? [`labels: ${loss.labels}`] : []),
    ...(gradient === undefined ? [] : gradientLines(gradient)),
    ...(nearMisses === undefined ? [] : nearMissLines(nearMisses)),
    ...(memory === undefined ? [] : memoryLines(memory)),
  ];
  return lines.join('\n');
}

const ways = {
  rule: 'rule',
  decomposition: 'decomposition',
  stopped: 'stopped on purpose',
  blocked: 'nothing: blocked',
} as const;

function gradientLines({ operators, nodes, blocked, unreached }: InspectedGradient): string[] {
  const passed = nodes.filter((n) => n.by === 'rule' || n.by === 'decomposition').length;
  return [
    `gradients: ${plural(passed, 'node')} differentiated, ${count(nodes.filter((n) => n.by === 'stopped').length)} stopped, ${count(blocked.length)} blocked`,
    ...(operators.length === 0
      ? []
      : [
          table(
            ['operator', 'nodes', 'differentiated by'],
            operators.map((o) => [o.adapted ? `${o.op}, adapted` : o.op, count(o.count), ways[o.by]]),
          ),
        ]),
    ...blockedLines(blocked),
    ...(unreached.length === 0 ? [] : [`no gradient reaches ${unreached.join(', ')}`]),
  ];
}

/** One block for each reason, with every node it holds for and the way from there to the loss. */
function blockedLines(blocked: InspectedGradient['blocked']): string[] {
  const groups = new Map<string, InspectedGradient['blocked'][number][]>();
  for (const b of blocked) {
    const key = `${b.code}: ${b.reason}\n${b.hint}`;
    groups.set(key, [...(groups.get(key) ?? []), b]);
  }
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    return [
      `blocked at ${plural(group.length, 'node')}: ${first.code}: ${first.reason}`,
      ...group.flatMap(({ node, path }) => {
        const way = path.length > 6 ? [...path.slice(0, 3), `… ${path.length - 5} more …`, ...path.slice(-2)] : path;
        return way.length > 0 ? [`  ${way.join(' -> ')}`] : node === undefined ? [] : [`  "${node}"`];
      }),
      `  way out: ${first.hint}`,
    ];
  });
}

/** Near-misses that the table shows; --json has all. */
const shownMisses = 20;

function nearMissLines(misses: NonNullable<Inspection['nearMisses']>): string[] {
  if (misses.length === 0) return ['near-misses: none'];
  const rows = misses.slice(0, shownMisses).map((m) => [m.pattern, m.node, m.reason]);
  const rest = misses.length - rows.length;
  return [
    `near-misses: ${count(misses.length)}`,
    table(['not recognized as', 'node', 'because'], rows),
    ...(rest === 0 ? [] : [`  and ${count(rest)} more, which --json lists`]),
  ];
}

/** Kinds of values that the table shows. */
const shownKinds = 8;

function memoryLines(memory: NonNullable<Inspection['memory']>): string[] {
  if ('reason' in memory) return [`memory: not known (${memory.reason})`];
  const { graph, lengths, steps, total, activations, kept, largest, peak, unknown } = memory;
  const given = Object.entries({ ...lengths, ...(steps > 1 ? { 'steps a run': steps } : {}) });
  const shown = largest.slice(0, shownKinds);
  const rest = largest.slice(shownKinds);
  const sum = (kinds: InspectedMemory['largest'], of: 'bytes' | 'values'): number =>
    kinds.reduce((n, k) => n + k[of], 0);
  return [
    `memory: ${bytes(total)} at the peak of a training step (${[`${graph}.onnx`, ...given.map(([k, n]) => `${k} ${n}`)].join(', ')})`,
    `  weights      ${bytes(memory.weights)}${memory.packed === 0 ? '' : `, and ${bytes(memory.packed)} of packed copies for the CPU's products`}`,
    `  state        ${bytes(memory.state)}`,
    `  batch        ${bytes(memory.batch)}`,
    `  activations  ${bytes(activations)} while ${peak.op} "${peak.node}" runs, ${bytes(kept)} of them kept for the backward`,
    table(
      ['operator', 'value', 'how many', 'bytes', 'of activations'],
      [
        ...shown.map((k) => [k.op, k.name, count(k.values), bytes(k.bytes), percent(k.bytes, activations)]),
        ...(rest.length === 0
          ? []
          : [
              [
                '',
                'others',
                count(sum(rest, 'values')),
                bytes(sum(rest, 'bytes')),
                percent(sum(rest, 'bytes'), activations),
              ],
            ]),
      ],
    ),
    ...(unknown.length === 0 ? [] : [`  not counted: ${plural(unknown.length, 'value')} whose size no length says`]),
  ];
}
