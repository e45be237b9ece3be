/** The facts that a writer needs from a reader: the places of a model's tensors and nodes in its bytes. */
import type { Node } from '../graph/model.ts';
import type { ByteSource, Tensor } from '../graph/tensor.ts';

/**
 * The place of a message on the wire: field number and index among the fields of that number, from the ModelProto
 * inwards. [7, 0, 5, 3] is graph.initializer[3].
 */
export type Place = readonly number[];

/** A range of the source that is a tensor's raw_data, unchanged. */
export interface PayloadStretch {
  readonly tensor: Tensor;
  /** Offset in the source. */
  readonly offset: number;
  readonly bytes: number;
  /** Offset in the tensor's raw_data. */
  readonly at: number;
}

/** A data file of the source. */
export interface ExternalFile {
  /** The name in the model without detours (`./`, `a/../`), relative to the model's folder. */
  readonly location: string;
  /** Other names in the model for the same file. */
  readonly aliases: readonly string[];
  /** The path on disk. */
  readonly path: string;
  readonly bytes: number;
}

/** The bytes that a model came from. Tensors of the model read from it until it is closed. */
export interface ModelSource {
  readonly bytes: ByteSource;
  /** The external data files of the model's tensors. */
  readonly externalFiles: readonly ExternalFile[];
  /** The tensors with data in this file. */
  readonly externalTensors: readonly Tensor[];
  /** Ranges of `bytes` that hold tensors above 1 KiB, in order of offset. */
  readonly stretches: readonly PayloadStretch[];
  /** The place of the tensor or node on the wire; undefined if it was not read from this source. */
  placeOf(item: Tensor | Node): Place | undefined;
  close(): void;
}
