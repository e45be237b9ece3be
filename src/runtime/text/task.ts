/** The task of a package whose rows are text, and the inputs that text fills. */

import { type InputInfo, type Manifest, openShape } from '../../formats/manifest.ts';
import { losses } from '../../graph/choices/losses.ts';

/** The inputs of a model that text fills. */
export interface TextInputs {
  readonly ids: InputInfo;
  readonly mask?: InputInfo | undefined;
  readonly types?: InputInfo | undefined;
}

/** Names of inputs in the models of Hugging Face, ONNX's model zoo and tf2onnx. */
const inputNames = {
  ids: ['input_ids', 'input_ids:0', 'decoder_input_ids', 'tokens', 'token_ids', 'ids'],
  mask: ['attention_mask', 'attention_mask:0', 'input_mask', 'mask'],
  types: ['token_type_ids', 'token_type_ids:0', 'segment_ids'],
} as const;

/** The inputs that text fills; undefined if the model reads no tokens. */
export function textInputs(inputs: readonly InputInfo[]): TextInputs | undefined {
  const find = (names: readonly string[]): InputInfo | undefined =>
    names.flatMap((name) => inputs.find((input) => input.name === name) ?? [])[0];
  const sequences = inputs.filter((input) => /^u?int(32|64)$/.test(input.type) && input.shape.length === 2);
  const [only] = sequences;
  const ids = find(inputNames.ids) ?? (sequences.length === 1 ? only : undefined);
  return ids && { ids, mask: find(inputNames.mask), types: find(inputNames.types) };
}

export type TaskKind =
  | 'classification'
  | 'multi-label'
  | 'regression'
  | 'token-classification'
  | 'language-model'
  | 'unlabelled';

/** The kind of a task, and its columns. */
export interface Task {
  readonly kind: TaskKind;
  /** The columns, for messages. */
  readonly takes: string;
}

const takes: Readonly<Record<TaskKind, string>> = {
  classification: '"text", perhaps "text_pair", and "label"',
  'multi-label': '"text", perhaps "text_pair", and "labels", a list of names',
  regression: '"text", perhaps "text_pair", and "label", a number',
  'token-classification': '"tokens", a list of words, and "tags", a list of names or numbers',
  'language-model': '"text", or "prompt" and "completion", or "messages"',
  unlabelled: '"text" and perhaps "text_pair", or "tokens"',
};

/** The task of a package's loss; undefined if its labels do not come from text. */
export function taskOf({ loss, labels }: Manifest, ids: InputInfo, withLabels: boolean): Task | undefined {
  const kind = kindOf(loss, labels, ids, withLabels);
  return kind && { kind, takes: takes[kind] };
}

function kindOf(
  loss: Manifest['loss'],
  labels: Manifest['labels'],
  ids: InputInfo,
  withLabels: boolean,
): TaskKind | undefined {
  if (loss === undefined) return 'unlabelled';
  const { over, shift, share } = losses[loss.kind];
  if (shift === true) return 'language-model';
  if (!withLabels) return 'unlabelled';
  const shape = labels && openShape(labels);
  const isPerToken = shape?.length === 2 && over === 'classes' && shape[1] === openShape(ids)[1];
  if (isPerToken) return 'token-classification';
  if (over === 'classes') return shape?.length === 1 ? 'classification' : undefined;
  if (over !== 'elements' || shape === undefined) return undefined;
  const [, ...rest] = shape;
  if (share === true) return rest.length === 1 && rest[0] !== 1 ? 'multi-label' : 'regression';
  return rest.every((dim) => dim === 1) ? 'regression' : undefined;
}
