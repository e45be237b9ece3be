/**
 * Writes a model to one file, or to a file with its data beside it. Memory: the graph and one piece of a weight, also
 * if the weights are stored inside: the model is encoded with its large tensors cut out, and they are streamed into
 * their places.
 */
import { writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { LoraifyError, writeFailed } from '../errors.ts';
import type { Model } from '../graph/model.ts';
import { chunks, memorySource, type Tensor } from '../graph/tensor.ts';
import {
  type ChangedPart,
  cursorOver,
  decodeMessage,
  encodeMessage,
  fieldStream,
  joined,
  type MessageName,
  maxFileBytes,
  pieceBytes,
  rawField,
  rewrite,
  streamOf,
  walkFields,
} from '../proto/index.ts';
import { encodeModel } from './encode.ts';
import { reason } from './outputs.ts';
import { writePieces } from './pieces.ts';
import { planWeights, writeWeights } from './weights.ts';

export interface ModelFile {
  readonly bytes: number;
  /** The name of the data file, if there is one. */
  readonly dataFile: string | undefined;
}

/**
 * Writes `path`, and `path`.data if `external` is set or the model would be larger than 2 GiB. Not atomic: see
 * createFile. Errors: WRITE_FAILED, and those of reading the sources.
 */
export async function writeModelFile(
  model: Model,
  path: string,
  options: { readonly external: boolean },
): Promise<ModelFile> {
  const plan = planWeights([model], [], `${basename(path)}.data`);
  const reduced = encodeModel(model, plan.placements);
  const { file } = plan;
  try {
    if (file !== undefined && !options.external) {
      const source = memorySource(path, reduced);
      const tensors = new Map([...plan.placements].map(([tensor, { offset }]) => [String(offset), tensor]));
      const pieces = rewrite(0, reduced.length, filled(reduced, file.name, tensors));
      const bytes = pieceBytes(pieces);
      if (bytes <= maxFileBytes) {
        writePieces(source, pieces, path);
        return { bytes, dataFile: undefined };
      }
    }
    writeFileSync(path, reduced, { flag: 'wx' });
    await writeWeights(plan, dirname(path));
  } catch (error) {
    if (error instanceof LoraifyError) throw error;
    throw writeFailed(path, reason(error));
  }
  return { bytes: reduced.length, dataFile: file?.name };
}

/** Messages that contain tensors, and the fields: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. */
const inside: Readonly<Partial<Record<MessageName, Readonly<Record<number, MessageName>>>>> = {
  ModelProto: { 7: 'GraphProto', 25: 'FunctionProto' },
  GraphProto: { 1: 'NodeProto', 5: 'TensorProto' },
  FunctionProto: { 7: 'NodeProto', 11: 'AttributeProto' },
  NodeProto: { 5: 'AttributeProto' },
  AttributeProto: { 5: 'TensorProto', 6: 'GraphProto', 10: 'TensorProto', 11: 'GraphProto' },
};

/**
 * The changes that insert the tensors into their messages; a tensor is identified by its offset in the data file
 * `location`.
 */
function filled(bytes: Uint8Array, location: string, tensors: ReadonlyMap<string, Tensor>): ChangedPart[] {
  const cursor = cursorOver(memorySource('', bytes));
  const visit = (message: MessageName, from: number, end: number): ChangedPart[] => {
    const parts: ChangedPart[] = [];
    const fields = inside[message] ?? {};
    walkFields(cursor, from, end, (f) => {
      const next = f.wireType === 2 ? fields[f.number] : undefined;
      if (next === undefined) return;
      const place = { field: f.number, at: f.at, from: f.from, end: f.end };
      const inner = next === 'TensorProto' ? tensor(place.from, place.end) : visit(next, place.from, place.end);
      if (inner.length > 0) parts.push({ kind: 'message', ...place, parts: inner });
    });
    return parts;
  };
  const tensor = (from: number, end: number): ChangedPart[] => {
    const {
      external_data: entries,
      data_location: _,
      ...rest
    } = decodeMessage('TensorProto', bytes.subarray(from, end));
    const byKey = new Map(entries.map((e) => [e.key, e.value]));
    const found = byKey.get('location') === location ? tensors.get(byKey.get('offset') ?? '') : undefined;
    if (found === undefined) return [];
    const whole = joined(
      streamOf(encodeMessage('TensorProto', rest)),
      fieldStream(rawField, { length: found.byteLength, write: () => chunks(found) }),
    );
    return [{ kind: 'replacement', at: from, end, ...whole }];
  };
  return visit('ModelProto', 0, bytes.length);
}
