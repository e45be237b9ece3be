/** ONNX's messages and protobuf's wire format. */
export { fromLong, toLong } from './int64.ts';
export { type Change, type Changes, changes } from './locate.ts';
export { elementWire, payloadFieldNames, rawField, type TypedField, typedFieldOf } from './payloadFields.ts';
export {
  type ChangedMessage,
  type ChangedPart,
  insertion,
  type Piece,
  pieceBytes,
  type Replacement,
  replacement,
  rewrite,
} from './rewrite.ts';
export {
  cutField,
  decodeMessage,
  encodeMessage,
  has,
  isDecodeFailure,
  type MessageName,
  type Proto,
  type ProtoInit,
} from './schema.ts';
export type { ExternalFile, ModelSource, PayloadStretch, Place } from './source.ts';
export { fieldStream, joined, type Stream, streamOf } from './stream.ts';
export { rememberTypeBytes, typeBytesOf } from './typeBytes.ts';
export {
  type Cursor,
  cursorOver,
  fieldBytes,
  maxDepth,
  maxFileBytes,
  tagBytes,
  varintBytes,
  type WireField,
  walkFields,
} from './wire.ts';
