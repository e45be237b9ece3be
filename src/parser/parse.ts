/** Reads a model from a file or other bytes, with the information that a writer needs to copy the source faithfully. */
import { dirname } from 'node:path';
import type { Model, Node } from '../graph/model.ts';
import type { ByteSource, Tensor } from '../graph/tensor.ts';
import type { ModelSource, Place } from '../proto/index.ts';
import { decodeModel } from './decode.ts';
import { type ExternalData, externalData, type ModelPlace } from './external.ts';
import { fileSource } from './fileSource.ts';

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
  const source = fileSource(path);
  try {
    return parseSource(source, { folder: dirname(path) }, () => source.close());
  } catch (error) {
    source.close();
    throw error;
  }
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
