/** Derives the options of the passes from those of the compile and from an adapter. */
import type { OpenedAdapter } from '../adapter/index.ts';
import { badOption } from '../errors.ts';
import {
  type FixedLengths,
  type NamingOptions,
  namedPaths,
  type OnPass,
  type Prepared,
  type Stored,
} from '../passes/index.ts';
import { readBindings } from './bindings.ts';
import type { ResolvedOptions } from './options.ts';

export function trainingOptions(
  options: ResolvedOptions,
  onPass: OnPass | undefined,
  stored: Stored | undefined,
  dropout: number,
): Prepared['options'] {
  return {
    choice: {
      loss: options.loss,
      lossOutput: options.headPlan?.output ?? options.lossOutput,
      head: options.headPlan?.kind,
      classAxis: options.classAxis,
      given: options.lossGiven,
    },
    loss: {
      ignoreIndex: options.ignoreIndex,
      labelSmoothing: options.labelSmoothing,
      classWeights: options.classWeights,
      params: options,
    },
    optimizer: {
      kind: options.optimizer,
      betas: options.betas,
      eps: options.eps,
      weightDecay: options.weightDecay,
      maxGradNorm: options.maxGradNorm,
      momentum: options.momentum,
    },
    target: options.for,
    stored: stored?.type,
    opset: options.opset,
    bind: readBindings(options.bind),
    batchAxis: options.batchAxis,
    dropout,
    onPass,
  };
}

/** @param family model_type of the config.json beside the model. */
export const namingOf = ({ target }: ResolvedOptions, family: string | undefined): NamingOptions => ({
  targets: target === undefined ? undefined : namedPaths(target),
  family,
});

export const fixedLengths = ({ batch, seq, dim }: ResolvedOptions): FixedLengths => ({ batch, seq, dims: dim });

/**
 * The option, else the adapter's dropout. Errors: BAD_OPTION if the latter is 1, on a part of a packed weight, and with
 * DoRA, whose base also reads the dropped input in PEFT (peft/tuners/lora/dora.py).
 */
export function dropoutOf(
  options: ResolvedOptions,
  adapter: OpenedAdapter | undefined,
  decomposed: string | undefined,
  packed: string | undefined,
): number {
  const dropout = options.dropout ?? adapter?.dropout ?? 0;
  if (dropout > 0 && decomposed !== undefined)
    throw badOption(
      `dropout ${dropout} with DoRA (layer "${decomposed}") is not supported: the graphs would not compute what PEFT does`,
      'use --dropout 0, or train without DoRA',
    );
  if (dropout > 0 && packed !== undefined)
    throw badOption(
      `dropout ${dropout} on layer "${packed}" is not supported: its weight is packed with others inside an Attention node, which has one input for all`,
      'use --dropout 0, or leave the layer out',
    );
  if (dropout === 1)
    throw badOption(
      "lora_dropout of the adapter is 1, which would drop all of a branch's input",
      'set another share with --dropout',
    );
  return dropout;
}
