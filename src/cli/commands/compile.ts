import { setFlagsFromString } from 'node:v8';
import type { CompileResult } from '../../index.ts';
import {
  batchLine,
  boundLines,
  dataLine,
  existingLine,
  headLine,
  labelsLine,
  lengthsLine,
  precisionLine,
} from '../boundText.ts';
import { command } from '../command.ts';
import { compileOptions, libraryOptions } from '../compileOptions.ts';
import { bytes, count, percent, plural, table } from '../format.ts';
import { required } from '../options.ts';

export const compileCommand = command({
  usage: ['compile <model>', '$0'],
  describe: 'LoRA branches and training graphs -> a package directory',
  examples: [
    'loraify model.onnx -r 8 -a 16',
    'loraify onnx/model.onnx --target q_proj,v_proj --loss causal-lm -o model.lora',
  ],
  options: { model: required({ positional: true, describe: 'ONNX file' }), ...compileOptions },
  async run({ model, ...options }, out) {
    const { compile } = await import('../../index.ts');
    optimizeLater();
    const result = await compile(model, libraryOptions(options));
    for (const warning of result.warnings) out.warn(warning);
    const { dir, manifest, warnings, files, timings } = result;
    const text = summary(model, result, options.labels === undefined, options.dryRun === true);
    out.result(timings === undefined ? text : `${text}\n\n${timingTable(timings)}`, {
      dir,
      dryRun: options.dryRun === true,
      warnings,
      files,
      manifest,
      ...(timings === undefined ? {} : { timings }),
    });
    return 0;
  },
});

/**
 * Nearly all of a compile runs a few times. The V8 of Node 20 would optimize that on threads of its own, which is as
 * much work as the compile itself, taken from the thread that copies the weights. From nine times as many turns on it
 * still does. Later ones count by other flags and have a cheaper compiler for it.
 */
function optimizeLater(): void {
  if (process.versions.v8.startsWith('11.')) setFlagsFromString('--interrupt-budget=600000');
}

function summary(model: string, { dir, manifest, files }: CompileResult, isConfig: boolean, dryRun: boolean): string {
  const { counts, layers, skipped, loss, optimizer, lora, labels } = manifest;
  const ranks = [...new Set(layers.map((l) => l.rank))];
  const reasons = new Map<string, number>();
  for (const { reason } of skipped) {
    const kind = reason.slice(reason.indexOf(': ') + 1).trim();
    reasons.set(kind, (reasons.get(kind) ?? 0) + 1);
  }
  const [data, rows] = [dataLine(manifest), batchLine(manifest)];
  const lines = [
    `${model}: ${plural(counts.layers, 'layer')} adapted, rank ${ranks.join(', ')}, scaling ${lora.scaling}`,
    `  trainable   ${count(counts.trainable)} of ${count(counts.total)} parameters (${percent(counts.trainable, counts.total)})`,
    ...(lora.existing === undefined
      ? []
      : [`  existing    ${existingLine(lora.existing)}; --existing-lora changes it`]),
    ...(manifest.head === undefined ? [] : [`  head        ${headLine(manifest.head)}`]),
    ...(loss === undefined
      ? []
      : [`  loss        ${loss.kind} on "${loss.tensor}" (${loss.chosen}); --loss and --loss-output change it`]),
    ...(loss?.labels === undefined ? [] : [`  labels      ${loss.labels}`]),
    ...(labels?.names === undefined ? [] : [`  names       ${labelsLine(labels.names, isConfig)}`]),
    ...(rows === undefined ? [] : [`  batch       ${rows}`]),
    ...(manifest.fixed === undefined ? [] : [`  lengths     ${lengthsLine(manifest.fixed)}`]),
    ...(manifest.precision === undefined ? [] : [`  precision   ${precisionLine(manifest.precision)}`]),
    ...boundLines(manifest.bound).map((line, i) => `  ${i === 0 ? 'bound     ' : '          '}  ${line}`),
    ...(data === undefined ? [] : [`  data        ${data}`]),
    `  optimizer   ${optimizer.kind}${optimizer.maxGradNorm === 0 ? '' : `, gradients clipped at norm ${optimizer.maxGradNorm}`}${optimizer.lossScale === undefined ? '' : ', loss scaled for float16'}`,
    ...[...reasons].map(([reason, n], i) => `  ${i === 0 ? 'left alone' : '          '}  ${count(n)} x ${reason}`),
    ...(dryRun
      ? [`nothing was written (--dry-run); the package would be ${dir}`]
      : [
          `  graphs      ${Object.entries(files)
            .map(([name, size]) => `${name} ${bytes(size)}`)
            .join(', ')}`,
          `wrote ${dir}`,
          ...(manifest.graphs.train === undefined ? [] : [`next: loraify train ${dir} --data FILE`]),
        ]),
  ];
  return lines.join('\n');
}

/** The passes in the order in which they ran. */
function timingTable(timings: NonNullable<CompileResult['timings']>): string {
  const total = timings.reduce((sum, t) => sum + t.milliseconds, 0);
  const rows = timings.map((t) => [t.stage, t.pass, t.milliseconds.toFixed(1), percent(t.milliseconds, total)]);
  return table(['stage', 'pass', 'ms', 'of all passes'], [...rows, ['', 'all', total.toFixed(1), '']]);
}
