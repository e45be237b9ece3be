/** What the passes take of the options, and of an adapter beside them. */
import type { OpenedAdapter } from '../adapter/index.ts';
import { badOption } from '../errors.ts';
import type { FixedLengths, OnPass, Prepared, Stored } from '../passes/index.ts';
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
      lossOutput: options.lossOutput,
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
    dropout,
    onPass,
  };
}

export const fixedLengths = ({ batch, seq, dim }: ResolvedOptions): FixedLengths => ({ batch, seq, dims: dim });

/**
 * The option, else what the adapter was trained with. Errors: BAD_OPTION where it is 1, on a part of a packed weight, and beside
 * DoRA, whose base reads the dropped input as well in PEFT (peft/tuners/lora/dora.py).
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
      `dropout ${dropout} beside DoRA (layer "${decomposed}") is not available: the graphs would not compute what PEFT does`,
      'say --dropout 0, or train without DoRA',
    );
  if (dropout > 0 && packed !== undefined)
    throw badOption(
      `dropout ${dropout} on layer "${packed}" is not available: its weight is packed with others inside an Attention node, which has one input for all`,
      'say --dropout 0, or leave the layer out',
    );
  if (dropout === 1)
    throw badOption(
      'lora_dropout of the adapter is 1: nothing would be left of the input of a branch',
      'say another share with --dropout',
    );
  return dropout;
}
