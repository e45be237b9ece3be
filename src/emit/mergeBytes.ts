/**
 * Folds adapters into a model file: copies the source's wire bytes, in which only the changed weights (and the length
 * prefixes around them) differ. Memory: the graph and one block of rows.
 */
import { basename } from 'node:path';
import { LoraifyError, notMergeable, writeFailed } from '../errors.ts';
import type { Node } from '../graph/model.ts';
import { dataTypeNumber, type Tensor } from '../graph/tensor.ts';
import {
  type Change,
  type Changes,
  changes,
  encodeMessage,
  fieldBytes,
  fieldStream,
  insertion,
  joined,
  type ModelSource,
  maxFileBytes,
  type Piece,
  pieceBytes,
  rawField,
  replacement,
  rewrite,
  type Stream,
  streamOf,
  toLong,
  walkFields,
} from '../proto/index.ts';
import { irVersionField } from './irVersion.ts';
import { type Bypass, bypassBranch, placeOf } from './mergeBypass.ts';
import { type DataFilePlan, grouped, planDataFile } from './mergeData.ts';
import { canMerge, columnsOf, type Delta, mergedBlocks } from './mergeMath.ts';
import { moveExternal, type RawBytes, replaceElements } from './mergeTensor.ts';
import { reason } from './outputs.ts';
import { writePieces } from './pieces.ts';

/** A weight that is changed in place, for all its readers. Several edits of one tensor add up. */
export interface WeightEdit {
  /** For messages. */
  readonly layer: string;
  /** The tensor's name, for messages. */
  readonly weight?: string;
  readonly tensor: Tensor;
  readonly delta: Delta;
}

/** A weight that is replaced: raw_data of the new content, of the same type and shape. */
export interface WeightContent extends Omit<WeightEdit, 'delta'> {
  readonly content: Uint8Array;
}

export type WeightChange = WeightEdit | WeightContent;

/** A changed copy of a weight for some of its readers; the weight itself is kept. */
export type UntieEdit = WeightEdit & Untied;
export type UntieChange = WeightChange & Untied;

export interface Untied {
  /** The name of the new initializer, unused in the whole model. */
  readonly name: string;
  readonly uses: readonly { readonly node: Node; readonly input: number }[];
}

export interface Merged {
  /** The bytes of the model file, and of its data file if there is one. */
  readonly bytes: number;
  readonly dataFile: string | undefined;
}

/**
 * Writes the merged model to `path`, and its external data to `path`.data: all data that were external, and tensors
 * that would make the file larger than 2 GiB. The edits' tensors and nodes are those of the model that was parsed from
 * `source`. The bypassed branches are left out. Not atomic: see createFile. Errors: NOT_MERGEABLE, MERGE_MISMATCH,
 * WRITE_FAILED.
 */
export function mergeWeights(
  source: ModelSource,
  edits: readonly WeightChange[],
  unties: readonly UntieChange[],
  path: string,
  bypasses: readonly Bypass[] = [],
): Merged {
  for (const e of [...edits, ...unties]) check(source, e);
  const location = `${basename(path)}.data`;
  const attempt = (externalCopies: boolean): { pieces: Piece[]; data: DataFilePlan } => {
    const change = changes();
    const byTensor = grouped(edits, (e) => e.tensor);
    const data = planDataFile(source, new Set(byTensor.keys()));
    for (const [tensor, list] of byTensor) {
      const raw = merged(tensor, list);
      if (tensor.byteLength === 0) continue;
      if (data.offsets.has(tensor)) data.change(tensor, raw);
      else change.change(placeOf(source, tensor), replaceElements(tensor, raw));
    }
    const gone = new Set(bypasses.flatMap((b) => b.weights));
    for (const [tensor, offset] of data.offsets)
      if (!gone.has(tensor)) change.change(placeOf(source, tensor), moveExternal(location, offset));
    for (const b of bypasses) bypassBranch(source, change, b);
    for (const u of unties) untie(source, change, u, externalCopies ? { data, location } : undefined);
    return { pieces: rewrite(0, source.bytes.size, change.parts(source.bytes)), data };
  };
  let made = attempt(source.externalFiles.length > 0);
  if (pieceBytes(made.pieces) > maxFileBytes) made = attempt(true);
  const bytes = pieceBytes(made.pieces);
  if (bytes > maxFileBytes)
    throw writeFailed(path, `the merged model has ${bytes} bytes, but a protobuf is limited to 2 GiB`);
  try {
    writePieces(source.bytes, made.pieces, path);
    if (made.data.needed) made.data.write(`${path}.data`);
  } catch (error) {
    if (error instanceof LoraifyError) throw error;
    throw writeFailed(path, reason(error));
  }
  return { bytes, dataFile: made.data.needed ? location : undefined };
}

function check(source: ModelSource, change: WeightChange): void {
  const { layer, tensor } = change;
  if (!canMerge(tensor.dtype)) throw notMergeable(layer, `its weight is stored as ${tensor.dtype}`);
  if (source.placeOf(tensor) === undefined) throw notMergeable(layer, 'its weight is not a tensor of the source file');
  if ('content' in change) {
    if (change.content.length !== tensor.byteLength)
      throw notMergeable(layer, `its weight has ${tensor.byteLength} bytes, the new one ${change.content.length}`);
    return;
  }
  const { delta } = change;
  const elements = tensor.dims.reduce((n, d) => n * d, 1);
  const { A, B } = delta;
  const rank = delta.in === 0 ? 0 : A.length / delta.in;
  if (
    delta.in * (delta.part?.of ?? delta.out) !== elements ||
    A.length !== delta.in * rank ||
    B.length !== rank * delta.out
  )
    throw notMergeable(
      layer,
      `its weight has ${elements} elements, the adapter is for ${delta.in} x ${delta.out} (A ${A.length}, B ${B.length})`,
    );
}

function merged(tensor: Tensor, edits: readonly WeightChange[]): RawBytes {
  const names = [...new Set(edits.map((e) => e.layer))].join(', ');
  const deltas = edits.flatMap((e) => ('content' in e ? [] : [e.delta]));
  const [whole] = edits.flatMap((e) => ('content' in e ? [e.content] : []));
  if (whole !== undefined) {
    if (edits.length > 1)
      throw notMergeable(names, 'several layers change one stored weight, and one of them replaces it');
    return () => [whole];
  }
  if (new Set(deltas.map(columnsOf)).size > 1)
    throw notMergeable(names, 'several layers read one stored weight as matrices of different shapes');
  return () => mergedBlocks(tensor, deltas, names, edits[0]?.weight);
}

/** Adds the changed copy and redirects the nodes to it. */
function untie(
  source: ModelSource,
  change: Changes,
  edit: UntieChange,
  external: { readonly data: DataFilePlan; readonly location: string } | undefined,
): void {
  const raw = merged(edit.tensor, [edit]);
  const copy = copyOf(edit, raw, external);
  for (const { node, input } of edit.uses) change.change(placeOf(source, node), renameInput(input, edit.name));
  const places = edit.uses.map((u) => placeOf(source, u.node));
  const functions = new Set(places.map((p) => (p[0] === functionField ? p[1] : undefined)));
  for (const f of functions) {
    if (f === undefined && (irVersionField(source.bytes)?.version ?? 0) >= 4) {
      change.change([7, 0], (_cursor, _from, end) => [insertion(end, fieldStream(5, copy))]);
      continue;
    }
    // Functions have no initializers, and before IR 4 each initializer had to be an input: then a Constant node before
    // the first reader is used.
    const [a, b, field] = f === undefined ? [7, 0, 1] : [functionField, f, 7];
    const index = Math.min(
      ...places.filter((p) => p[0] === a && (f === undefined || p[1] === f)).map((p) => p[3] ?? 0),
    );
    change.insertBefore([a, b, field, index], fieldStream(field, constantNode(edit.name, copy)));
  }
}

const functionField = 25;

/** The TensorProto of the copy. */
function copyOf(
  { tensor, name }: UntieChange,
  raw: RawBytes,
  external: { readonly data: DataFilePlan; readonly location: string } | undefined,
): Stream {
  const head = { dims: tensor.dims.map((d) => toLong(d, 'dim')), data_type: dataTypeNumber(tensor.dtype), name };
  if (external === undefined)
    return joined(
      streamOf(encodeMessage('TensorProto', head)),
      fieldStream(rawField, { length: tensor.byteLength, write: raw }),
    );
  const offset = external.data.add(tensor.byteLength, raw);
  return streamOf(
    encodeMessage('TensorProto', {
      ...head,
      external_data: [
        { key: 'location', value: external.location },
        { key: 'offset', value: String(offset) },
        { key: 'length', value: String(tensor.byteLength) },
      ],
      data_location: 1,
    }),
  );
}

/** The NodeProto of a Constant. */
function constantNode(output: string, tensor: Stream): Stream {
  const attribute = joined(
    streamOf(encodeMessage('AttributeProto', { name: 'value' })),
    fieldStream(5, tensor),
    streamOf(encodeMessage('AttributeProto', { type: 4 })),
  );
  return joined(
    streamOf(encodeMessage('NodeProto', { output: [output], name: output, op_type: 'Constant' })),
    fieldStream(5, attribute),
  );
}

/** Renames an input of a NodeProto. */
const renameInput =
  (input: number, name: string): Change =>
  (cursor, from, end) => {
    let index = 0;
    let found: { at: number; end: number } | undefined;
    walkFields(cursor, from, end, (f) => {
      if (f.number !== 1 || f.wireType !== 2) return;
      if (index++ === input) found = { at: f.at, end: f.end };
    });
    if (found === undefined) throw new Error(`a node has no input ${input}`);
    return [replacement(found.at, found.end, fieldBytes(1, new TextEncoder().encode(name)))];
  };
