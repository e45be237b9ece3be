/**
 * Where a message stands on the wire: field number and index among the fields of that number, from the ModelProto inwards.
 * [7, 0, 5, 3] is graph.initializer[3].
 */
export type Place = readonly number[];
