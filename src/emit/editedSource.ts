/**
 * A source with some nodes, weights and outputs of its main graph changed, as bytes: ranges of the source, and new
 * messages between them. It is never in memory as a whole, and everything that did not change is the source's own.
 */
import type { Graph, Model, Node, Value } from '../graph/model.ts';
import { type ByteSource, memorySource } from '../graph/tensor.ts';
import {
  type Change,
  type Changes,
  changes,
  decodeMessage,
  encodeMessage,
  fieldBytes,
  insertion,
  type ModelSource,
  type Piece,
  replacement,
  rewrite,
  streamOf,
  varintBytes,
  walkFields,
} from '../proto/index.ts';
import { encodeInitializer, encodeNode } from './encode.ts';
import { encodeValueInfo } from './encodeType.ts';
import { irVersionField } from './irVersion.ts';
import { removeAt } from './mergeBypass.ts';
import { type Part, readParts } from './parts.ts';

/** The parts of a graph that may change. */
export interface GraphParts {
  readonly nodes: readonly Node[];
  readonly initializers: readonly Value[];
  readonly outputs: readonly Value[];
}

export const partsOf = ({ nodes, initializers, outputs }: Graph): GraphParts => ({
  nodes: [...nodes],
  initializers: [...initializers],
  outputs: [...outputs],
});

/** Fields of ModelProto and GraphProto: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. */
const graphPlace = [7, 0] as const;
const field = { node: 1, initializer: 5, output: 12, valueInfo: 13 } as const;

/** @param model the model that was parsed from `source`, changed since. @param before its graph as it was parsed. */
export function editedBytes(source: ModelSource, before: GraphParts, model: Model): ByteSource {
  const { graph } = model;
  const change = changes();
  const [nodes, initializers] = [new Set(graph.nodes), new Set(graph.initializers)];
  for (const n of before.nodes) if (!nodes.has(n)) removeAt(source, change, n);
  for (const v of before.initializers)
    if (!initializers.has(v) && v.tensor !== undefined) removeAt(source, change, v.tensor);
  const [oldNodes, oldInitializers] = [new Set(before.nodes), new Set(before.initializers)];
  const added = [
    ...graph.nodes
      .filter((n) => !oldNodes.has(n))
      .map((n) => fieldBytes(field.node, encodeMessage('NodeProto', encodeNode(n, new Map())))),
    ...graph.initializers
      .filter((v) => !oldInitializers.has(v))
      .map((v) =>
        fieldBytes(field.initializer, encodeMessage('TensorProto', encodeInitializer(v, new Set(), new Map()))),
      ),
    ...before.outputs
      .filter((v) => isInner(v, graph))
      .map((v) => fieldBytes(field.valueInfo, encodeMessage('ValueInfoProto', encodeValueInfo(v)))),
  ];
  const gone = [
    ...before.nodes.filter((n) => !nodes.has(n)).flatMap((n) => n.outputs),
    ...before.initializers.filter((v) => !initializers.has(v)),
  ];
  change.change(graphPlace, withoutInfo(new Set(gone.map((v) => v.name))));
  graph.outputs.forEach((v, i) => {
    if (v !== before.outputs[i]) change.change(graphPlace, withOutput(i, v));
  });
  change.change(graphPlace, (_cursor, _from, end) => added.map((bytes) => insertion(end, streamOf(bytes))));
  raiseIrVersion(source.bytes, change, model.irVersion);
  return pieced(source.bytes, rewrite(0, source.bytes.size, change.parts(source.bytes)));
}

/** A value that was an output and is only read inside now. */
const isInner = (v: Value, { outputs }: Graph): boolean =>
  !outputs.includes(v) && v.uses.size > 0 && v.producer !== undefined;

/** Replaces the nth output of the graph. */
const withOutput =
  (nth: number, v: Value): Change =>
  (cursor, from, end) => {
    let index = 0;
    let found: { at: number; end: number } | undefined;
    walkFields(cursor, from, end, (f) => {
      if (f.number === field.output && f.wireType === 2 && index++ === nth) found = { at: f.at, end: f.end };
    });
    if (found === undefined) throw new Error(`the graph has no output ${nth}`);
    const bytes = fieldBytes(field.output, encodeMessage('ValueInfoProto', encodeValueInfo(v)));
    return [replacement(found.at, found.end, bytes)];
  };

/** Removes the declarations of values that are no longer there: new ones may have their names. */
const withoutInfo =
  (names: ReadonlySet<string>): Change =>
  (cursor, from, end) => {
    const infos: { at: number; from: number; end: number }[] = [];
    walkFields(cursor, from, end, (f) => {
      if (f.number === field.valueInfo && f.wireType === 2) infos.push({ at: f.at, from: f.from, end: f.end });
    });
    return infos.flatMap((info) => {
      const { name } = decodeMessage('ValueInfoProto', cursor.source.read(info.from, info.end - info.from));
      return names.has(name) ? [replacement(info.at, info.end, new Uint8Array(0))] : [];
    });
  };

function raiseIrVersion(bytes: ByteSource, change: Changes, version: number): void {
  const own = irVersionField(bytes);
  if (own !== undefined && own.version < version)
    change.change([], () => [replacement(own.from, own.end, varintBytes(version))]);
}

/** The pieces of a rewritten source as one source under its name. */
function pieced(source: ByteSource, pieces: readonly Piece[]): ByteSource {
  const parts: Part[] = [];
  let start = 0;
  for (const p of pieces) {
    const { length } = p;
    parts.push(
      p.kind === 'copy'
        ? { start, length, file: source, offset: p.offset }
        : { start, length, file: memorySource(source.name, Buffer.concat([...p.write()])), offset: 0 },
    );
    start += length;
  }
  return { name: source.name, size: start, read: (offset, length) => readParts(parts, offset, length) };
}
