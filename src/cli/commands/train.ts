import type { z } from 'zod';
import { metricNames, metrics } from '../../graph/choices/metrics.ts';
import { schedules } from '../../graph/choices/package.ts';
import type { TrainEvent, TrainOptions, TrainResult } from '../../index.ts';
import { command } from '../command.ts';
import { count, metricValue, placementText, plural, short } from '../format.ts';
import { onInterrupt } from '../interrupt.ts';
import { choice, flag, integer, number, text } from '../options.ts';
import { trainProgress } from '../progress.ts';
import { dataOptions, groups, packageArgument, runtimeOptions } from '../runtimeOptions.ts';

const trainOptions = {
  ...dataOptions,
  epochs: number({ describe: 'passes over the data', default: '1', group: groups.length }),
  steps: integer({ describe: 'total number of optimizer steps, instead of --epochs', group: groups.length }),
  learningRate: number({ alias: 'lr', describe: 'learning rate at its peak', default: '1e-4', group: groups.length }),
  schedule: choice(schedules, {
    describe: 'course of the learning rate after the warm-up',
    default: 'constant',
    group: groups.length,
  }),
  warmup: number({
    describe: 'warm-up: a fraction of the steps below 1, else a number of steps',
    default: '0',
    group: groups.length,
  }),
  shuffle: flag({
    describe: 'shuffle the rows of each epoch; --no-shuffle keeps the order of the file',
    default: 'true',
    group: groups.data,
  }),
  groupByLength: flag({ describe: 'form batches of rows of similar lengths, for less padding', group: groups.data }),
  seed: integer({ describe: 'seed of the shuffling', default: '0', group: groups.length }),
  gradAccum: integer({ describe: 'batches per optimizer step', default: '1', group: groups.length }),
  stepsPerRun: integer({
    describe: 'optimizer steps in one call of ONNX Runtime',
    default: '1; up to 16 on CUDA',
    group: groups.runtime,
  }),
  adapter: text({ describe: 'PEFT directory to start from', default: "the package's own", group: groups.adapter }),
  evalData: text({ describe: 'data file to evaluate on', group: groups.evaluation }),
  evalEvery: integer({ describe: 'steps between evaluations', default: 'an epoch', group: groups.evaluation }),
  saveEvery: integer({
    describe: 'steps between checkpoints',
    default: '500, and every ten minutes',
    group: groups.output,
  }),
  keep: integer({ describe: 'checkpoints to keep, beside the best one', default: '5', group: groups.output }),
  metric: choice(metrics, {
    describe: 'metric that decides which adapter is the best, and --patience',
    default: 'loss',
    group: groups.evaluation,
  }),
  patience: integer({ describe: 'stop after this many evaluations without a better one', group: groups.evaluation }),
  out: text({ alias: 'o', describe: 'run folder', default: '<package>.run', group: groups.output }),
  resume: flag({ describe: 'continue from the last checkpoint of the run folder', group: groups.output }),
  force: flag({ describe: 'replace an existing run folder', group: groups.output }),
  ...runtimeOptions,
} satisfies Readonly<Record<Exclude<keyof TrainOptions, 'signal' | 'onEvent' | 'onNotice'>, z.ZodType>>;

export const trainCommand = command({
  usage: 'train <package>',
  describe: 'train the adapter on ONNX Runtime',
  examples: [
    'loraify train model.lora --data train.jsonl --epochs 3',
    'loraify train model.lora --data train.csv --eval-data test.csv --lr 2e-4 --schedule cosine -o model.run',
  ],
  options: {
    ...packageArgument,
    ...trainOptions,
  },
  async run({ package: directory, ...options }, out) {
    const { train } = await import('../../index.ts');
    const stop = new AbortController();
    const release = onInterrupt(() => {
      out.note('stopping after this step; once more to stop now');
      stop.abort();
    });
    const progress = trainProgress(out);
    try {
      const onEvent = (event: TrainEvent): void => {
        progress.show(event);
        // The lines of log.jsonl.
        if (out.json && 'line' in event) out.line(JSON.stringify(event.line));
      };
      const result = await train(directory, { ...options, signal: stop.signal, onEvent });
      progress.end();
      if (out.json) out.line(JSON.stringify({ result }));
      else out.line(summary(directory, result, options.adapter !== undefined));
      return result.stopped === 'interrupted' ? 130 : 0;
    } finally {
      progress.end();
      release();
    }
  },
});

function summary(directory: string, r: TrainResult, hasAdapter: boolean): string {
  const loss = r.loss === undefined ? '' : `, loss ${short(r.loss)}`;
  const head = `${plural(r.steps, 'step')} (${short(r.epochs)} ${r.epochs === 1 ? 'epoch' : 'epochs'}) on ${r.provider}${loss}`;
  const placed = r.placement === undefined ? '' : `\n${placementText(r.placement)}`;
  if (r.stopped === 'interrupted')
    return `interrupted after ${head}${placed}\nwrote ${r.checkpoint}; the same command with --resume goes on`;
  const early = r.stopped === 'patience' ? '\nstopped early: no better evaluation (--patience)' : '';
  const next = r.improved === false ? '' : `\nnext: loraify merge ${directory} --adapter ${r.adapter} -o merged.onnx`;
  return `${head}${placed}${early}\nwrote ${r.adapter}${next}${outcome(r, hasAdapter)}`;
}

/** Before and after: the last line. */
function outcome({ improved, start, best, end, steps, seconds }: TrainResult, hasAdapter: boolean): string {
  if (start === undefined || best === undefined || end === undefined) return '';
  const names = metricNames.filter((name) => name !== 'loss' && start[name] !== undefined);
  const took = `${short(seconds < 10 ? Number(seconds.toFixed(1)) : Math.round(seconds))} s`;
  if (improved === false) {
    const values = (['loss', ...names] as const).flatMap((name) =>
      start[name] === undefined ? [] : [`${metrics[name].label} ${metricValue(name, start[name])}`],
    );
    const what = hasAdapter ? 'adapter that it started from' : 'source model';
    return `\nno evaluation was better than the ${what} (${values.join(', ')}): try a lower --learning-rate`;
  }
  const changes = ([...names, 'loss'] as const).flatMap((name) => {
    const [from, to] = [start[name], best[name]];
    if (from === undefined || to === undefined) return [];
    return [`${metrics[name].label} ${metricValue(name, from)} -> ${metricValue(name, to)}`];
  });
  return `\n${changes.join(', ')} (step ${count(best.step)} of ${count(steps)}, ${took})`;
}
