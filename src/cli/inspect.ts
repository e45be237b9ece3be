import type { Inspection } from '../index.ts';
import { command } from './command.ts';
import { libraryOptions, selectionOptions } from './compileOptions.ts';
import { required } from './options.ts';
import { count, percent, plural, table } from './text.ts';

export const inspectCommand = command({
  usage: 'inspect <model>',
  describe: 'the weighted layers, what would be adapted, and why the rest is not',
  options: { model: required({ positional: true, describe: 'ONNX file or package' }), ...selectionOptions },
  async run({ model, ...options }, out) {
    const { inspect } = await import('../index.ts');
    const found = await inspect(model, libraryOptions(options));
    for (const text of found.warnings) out.warn(text);
    out.result(page(found), found);
    return 0;
  },
});

function page({ file, opset, irVersion, layers, skipped, loss, totals }: Inspection): string {
  const head = ['path', 'operator', 'weight', 'layout', 'in x out', 'rank', 'parameters', 'name from', 'adapted'];
  const rows = layers.map((l) => [
    l.path,
    l.nodes.length > 1 ? `${l.op} x ${l.nodes.length}` : l.op,
    l.weight,
    l.layout,
    `${l.in} x ${l.out}`,
    l.chosen ? String(l.rank) : '',
    l.chosen ? count(l.parameters) : '',
    l.from,
    l.chosen ? 'yes' : `no: ${l.reason ?? ''}`,
  ]);
  const share = totals.total === 0 ? '' : ` (${percent(totals.trainable, totals.total)})`;
  const lines = [
    `${file}: opset ${opset}, IR version ${irVersion}`,
    ...(layers.length === 0 ? ['no weighted MatMul or Gemm'] : [table(head, rows)]),
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
    'kind' in loss
      ? `loss: ${loss.kind} on "${loss.tensor}" of output "${loss.output}" (${loss.reason})`
      : `loss: none (${loss.reason})`,
  ];
  return lines.join('\n');
}
