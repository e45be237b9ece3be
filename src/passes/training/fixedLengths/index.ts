/**
 * Replaces dims that the source leaves open by numbers, in the graphs that take steps. Nodes that compute shapes from
 * them become constant and are folded; eval.onnx and model.onnx keep the symbols.
 */
import { losses } from '../../../graph/choices/losses.ts';
import { cloneModel } from '../../../graph/clone.ts';
import type { Model } from '../../../graph/model.ts';
import { runStage } from '../../common/pass.ts';
import { isMaskName } from '../../normalize/bind/names.ts';
import { buildGrad } from '../build.ts';
import { fixing } from '../pipeline.ts';
import type { Prepared } from '../prepared.ts';
import { checkFits, checkLengths } from './checkFits.ts';
import { type FixedLengths, resolveLengths } from './resolveLengths.ts';
import { rowsMixed } from './rowIndependence.ts';
import type { FixContext } from './substitute.ts';

export { type FixedLengths, lengthCalled } from './resolveLengths.ts';

/**
 * The prepared graph with numbers for its dims; `prepared` itself if none are given. `prepared` is not changed. Errors:
 * BAD_OPTION, see resolveLengths.
 */
export function fixLengths(prepared: Prepared, wanted: FixedLengths): Prepared {
  const { batch, seq, dims } = wanted;
  if (batch === undefined && seq === undefined && Object.keys(dims).length === 0) return prepared;
  const { options } = prepared;
  const resolved = resolveLengths(wanted, prepared.model.graph.inputs, prepared.bindings.tokens, prepared.batch.inputs);
  const c: FixContext = { model: cloneModel(prepared.model).model, resolved };
  runStage(fixing, c, options.onPass);
  const { model } = c;
  checkFits(model.graph, optionOf(wanted));
  checkLengths(prepared, resolved, optionOf(wanted));
  const mixed = batch === undefined ? undefined : rowsMixed(prepared, resolved, model.graph, batch);
  const notes = [...prepared.notes, ...unmasked(prepared, seq)];
  let gradient: Model | undefined;
  const fixed: Prepared = {
    ...prepared,
    model,
    notes,
    options: { ...options, loss: { ...options.loss, partly: true } },
    fixed: { ...wanted, open: prepared, mixed },
    gradient: () => (gradient ??= buildGrad(fixed)),
  };
  return fixed;
}

/** A causal language model does not attend to the padding behind a row. */
function unmasked({ model: { graph }, choice, bindings }: Prepared, seq: number | undefined): string[] {
  const isHidden =
    graph.inputs.some((v) => isMaskName(v.name)) ||
    losses[choice.kind].shift === true ||
    choice.tokens?.labels === 'next';
  if (seq === undefined || isHidden) return [];
  const name = bindings.tokens ?? graph.inputs[0]?.name;
  return [
    `--seq ${seq}: rows of "${name}" that are shorter are filled up, and the model has no attention mask that hides it`,
  ];
}

function optionOf({ batch, seq, dims }: FixedLengths): string {
  const given = Object.entries({ batch, seq }).flatMap(([name, n]) => (n === undefined ? [] : [`--${name} ${n}`]));
  return [...given, ...Object.entries(dims).map(([name, n]) => `--dim ${name}=${n}`)].join(' ');
}
