/** Reads a model from a file or other bytes, with the information that a writer needs to copy the source faithfully. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { badProtobuf, fileNotFound, LoraifyError } from '../errors.ts';
import { fileKind } from '../formats/fileKind.ts';
import { kindTexts, type PathKind, pathKind } from '../formats/pathKinds.ts';
import type { Model, Node } from '../graph/model.ts';
import type { ByteSource, Tensor } from '../graph/tensor.ts';
import type { ModelSource, Place } from '../proto/index.ts';
import { decodeModel } from './decode.ts';
import { type ExternalData, externalData, type ModelPlace } from './external.ts';
import { type FileSource, fileSource } from './fileSource.ts';
import { skim } from './skim.ts';
import { tensorReader } from './tensors.ts';

export interface Parsed {
  readonly model: Model;
  readonly source: ModelSource;
}

/**
 * Reads a model file; payloads stay on disk. Errors: FILE_NOT_FOUND, BAD_PROTOBUF, BAD_MODEL, BAD_TENSOR, NO_OPSET,
 * UNSUPPORTED_VERSION, EXTERNAL_DATA_OUTSIDE, EXTERNAL_DATA_BOUNDS.
 */
export function parseFile(path: string): Parsed {
  const source = modelFile(path);
  try {
    refuseOther(source);
    try {
      return parseSource(source, { folder: dirname(path) }, () => source.close());
    } catch (error) {
      if (error instanceof LoraifyError && error.code === 'BAD_PROTOBUF') refuseOther(source, true);
      throw error;
    }
  } catch (error) {
    source.close();
    throw error;
  }
}

/** Errors: FILE_NOT_FOUND, which names the models of a folder. */
function modelFile(path: string): FileSource {
  try {
    return fileSource(path);
  } catch (error) {
    const kind = pathKind(path);
    if (kind !== undefined) throw fileNotFound(path, `it is ${kindTexts[kind]}, not a model`, modelHints[kind](path));
    const models = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true ? modelsIn(path) : [];
    if (models.length === 0) throw error;
    throw fileNotFound(path, 'it is a folder', `give a file in it: ${models.join(', ')}`);
  }
}

/** The command that was meant, if a path is not that of a model. */
const modelHints: Readonly<Record<PathKind, (path: string) => string>> = {
  package: (path) => `train it: loraify train ${path} --data FILE; its source is inside: loraify inspect ${path}`,
  run: (path) => `its adapter is used with the package: loraify merge PACKAGE --adapter ${path} -o FILE.onnx`,
  adapter: (path) => `compile a model with it: loraify MODEL.onnx --adapter ${path}`,
  model: () => 'check the path and the permissions',
};

/** The first ONNX files of a folder, and of its folder `onnx`, where the Hub has them. */
const modelsIn = (folder: string): string[] =>
  [folder, join(folder, 'onnx')]
    .flatMap((f) => (existsSync(f) ? readdirSync(f).map((name) => join(f, name)) : []))
    .filter((f) => f.endsWith('.onnx'))
    .slice(0, 5);

/** Errors: BAD_PROTOBUF for a file of another kind, with the way to a model. */
function refuseOther(source: ByteSource, broken = false): void {
  const kind = fileKind(source, broken);
  if (kind !== undefined) throw badProtobuf(source.name, `it is ${kind.name}`, kind.cure);
  const model = source.name.replace(/[._]?data$/, '');
  if (broken && model !== source.name && existsSync(model))
    throw badProtobuf(source.name, 'it is the data file of another file', `give the model itself: ${model}`);
}

/**
 * Reads a model from bytes; `data` is the folder of its external data, or a resolver for it. `close` runs when the
 * source is closed.
 */
export function parseSource(
  source: ByteSource,
  data?: string | ModelPlace | ExternalData,
  close: () => void = () => {},
): Parsed {
  const { reduced, payloads } = skim(source);
  const place = typeof data === 'string' ? { folder: data } : data;
  const external = place !== undefined && 'find' in place ? place : externalData(place, source.name);
  const places = new WeakMap<Tensor | Node, Place>();
  try {
    const reader = tensorReader(source, payloads, external);
    const model = decodeModel(source, reduced, {
      tensor: (proto, label, place) => {
        const made = reader.read(proto, label);
        places.set(made, place);
        return made;
      },
      placed: (node, place) => places.set(node, place),
    });
    return {
      model,
      source: {
        bytes: source,
        externalFiles: [...external.files],
        externalTensors: reader.externalTensors,
        stretches: reader.stretches.toSorted((a, b) => a.offset - b.offset),
        placeOf: (item) => places.get(item),
        close() {
          external.close();
          close();
        },
      },
    };
  } catch (error) {
    external.close();
    throw error;
  }
}
