/** What a reader tells a writer about the bytes that a model came from. */
import type { Node } from '../graph/model.ts';
import type { ByteSource, Tensor } from '../graph/tensor.ts';

/**
 * Where a message stands on the wire: field number and index among the fields of that number, from the ModelProto inwards.
 * [7, 0, 5, 3] is graph.initializer[3].
 */
export type Place = readonly number[];

/** A stretch of the source that holds a tensor's raw_data bytes as they are. */
export interface PayloadStretch {
  readonly tensor: Tensor;
  /** In the source. */
  readonly offset: number;
  readonly bytes: number;
  /** In the tensor's raw_data. */
  readonly at: number;
}

/** A data file of the source. */
export interface ExternalFile {
  /** Its name in the model: relative to the model's folder. */
  readonly location: string;
  /** Where it is on disk. */
  readonly path: string;
  readonly bytes: number;
}

/** The bytes that a model came from. Tensors of the model read from it until it is closed. */
export interface ModelSource {
  readonly bytes: ByteSource;
  /** External data files that tensors lie in. */
  readonly externalFiles: readonly ExternalFile[];
  /** Tensors that lie there. */
  readonly externalTensors: readonly Tensor[];
  /** Stretches of `bytes` that hold tensors above 1 KiB, in order of place. */
  readonly stretches: readonly PayloadStretch[];
  /** Where the tensor or node stands on the wire; undefined for one that was not read from here. */
  placeOf(item: Tensor | Node): Place | undefined;
  close(): void;
}
