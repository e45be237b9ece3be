/** Converts ModelProto to Model: resolves names to objects and checks every assumption of the rest of the program. */
import { badModel, badProtobuf, noOpset, unsupportedVersion } from '../errors.ts';
import type { FunctionDef, Model } from '../graph/model.ts';
import type { ByteSource } from '../graph/tensor.ts';
import { builtinDomains, irVersions, opsets } from '../graph/versions.ts';
import { decodeMessage, fromLong, has, isDecodeFailure, type Place, type Proto } from '../proto/index.ts';
import { attribute } from './attributes.ts';
import { type DecodeContext, decodeBody, decodeGraph } from './graphs.ts';

import { copies, stringMap } from './tensors.ts';

/**
 * Converts a model. Errors: BAD_PROTOBUF, BAD_MODEL, BAD_TENSOR, NO_OPSET, UNSUPPORTED_VERSION, EXTERNAL_DATA_*.
 * `reduced` is the output of `skim` for the source.
 */
export function decodeModel(source: ByteSource, reduced: Uint8Array, context: DecodeContext): Model {
  const file = source.name;
  try {
    return model(decodeMessage('ModelProto', reduced), file, context);
  } catch (error) {
    // protobufjs finds errors that the skim does not check.
    if (isDecodeFailure(error)) throw badProtobuf(file, explain(error));
    throw error;
  }
}

function explain(error: Error): string {
  if (/utf-?8/i.test(error.message)) return 'a name or text is not valid UTF-8';
  if (error.message === 'max depth exceeded') return 'messages are nested too deeply';
  return error.message;
}

function model(proto: Proto<'ModelProto'>, file: string, context: DecodeContext): Model {
  if (proto.graph === null || !has(proto, 'ir_version'))
    throw badProtobuf(file, `it has no ${proto.graph === null ? 'graph' : 'ir_version'}`);
  const irVersion = irVersionOf(proto.ir_version, file);
  if (proto.opset_import.length === 0) throw noOpset('the model has no opset_import', file);
  const versions = opsetMap(proto.opset_import, 'the model', file);
  checkVersions(versions, file);

  const local = new Set(proto.functions.map((f) => domainName(f.domain)));
  const graph = decodeGraph(proto.graph, undefined, [7, 0], context);
  for (const n of graph.allNodes()) {
    const builtin = versions.has(n.domain) || local.has(n.domain) ? undefined : builtinDomains.get(n.domain);
    if (builtin !== undefined) versions.set(n.domain, builtin);
    mustImport(n, versions, local, file);
  }
  const functions = proto.functions.map((f, i) => functionDef(f, [25, i], file, context));
  const ids = new Set<string>();
  for (const f of functions) {
    const id = `${f.domain}:${f.name}:${f.overload}`;
    if (ids.has(id)) throw badModel(`function "${f.domain}.${f.name}" is defined twice`, { file });
    ids.add(id);
    const seen = new Map([...versions, ...f.opsets]);
    for (const n of f.body.allNodes()) mustImport(n, seen, local, file);
  }
  return {
    irVersion,
    opsets: versions,
    graph,
    functions,
    producerName: proto.producer_name,
    producerVersion: proto.producer_version,
    domain: proto.domain,
    modelVersion: fromLong(proto.model_version),
    docString: proto.doc_string,
    metadata: stringMap(proto.metadata_props),
    unknown: copies(proto.$unknowns ?? []),
  };
}

/** Errors: UNSUPPORTED_VERSION, with the way to a version that is read. */
function irVersionOf(declared: Proto<'ModelProto'>['ir_version'], file: string): number {
  const version = fromLong(declared);
  if (typeof version === 'number' && version >= irVersions.oldest && version <= irVersions.read) return version;
  const { newest } = irVersions;
  const hint =
    version > newest
      ? `set it with the onnx package: m = onnx.load(FILE); m.ir_version = ${newest}; onnx.save(m, FILE)`
      : 'export the model again; the file has no usable IR version';
  throw unsupportedVersion(`IR version ${version} is not between ${irVersions.oldest} and ${irVersions.read}`, {
    file,
    hint,
  });
}

/** Errors: UNSUPPORTED_VERSION for a version that ONNX Runtime, or this program, does not have. */
function checkVersions(versions: ReadonlyMap<string, number>, file: string): void {
  const own = versions.get('');
  const { oldest, newest } = opsets;
  if (own !== undefined && (own < oldest || own > newest))
    throw unsupportedVersion(`opset ${own} is not between ${oldest} and ${newest}`, {
      file,
      hint: `convert it with the onnx package: onnx.save(onnx.version_converter.convert_version(onnx.load(FILE), ${own < oldest ? 18 : newest}), FILE); or export with an opset between 18 and ${newest}`,
    });
  for (const [domain, most] of builtinDomains) {
    const version = versions.get(domain) ?? 0;
    if (version > most)
      throw unsupportedVersion(`version ${version} of domain "${domain}" is newer than ${most}`, {
        file,
        hint: `ONNX Runtime has versions up to ${most} of it; export with that one, or set it in the model's opset_import`,
      });
  }
}

/** "" and "ai.onnx" are one domain. */
export const domainName = (domain: string): string => (domain === 'ai.onnx' ? '' : domain);

/** Errors: NO_OPSET if a domain has two versions or an invalid one. */
function opsetMap(imports: readonly Proto<'OperatorSetIdProto'>[], who: string, file: string): Map<string, number> {
  const out = new Map<string, number>();
  for (const entry of imports) {
    const domain = domainName(entry.domain);
    const version = fromLong(entry.version);
    const before = out.get(domain);
    const name = domain === '' ? 'ai.onnx' : domain;
    if (typeof version === 'bigint' || version < 1)
      throw noOpset(`${who} imports version ${version} of domain "${name}"`, file);
    if (before !== undefined && before !== version)
      throw noOpset(`${who} imports domain "${name}" twice, in versions ${before} and ${version}`, file);
    out.set(domain, version);
  }
  return out;
}

function mustImport(
  node: { readonly domain: string; readonly op: string; readonly label: string },
  versions: ReadonlyMap<string, number>,
  local: ReadonlySet<string>,
  file: string,
): void {
  if (versions.has(node.domain) || local.has(node.domain)) return;
  const domain = node.domain === '' ? 'ai.onnx' : node.domain;
  throw noOpset(`node "${node.label}" (${node.op}) is of domain "${domain}", which has no opset_import`, file);
}

function functionDef(proto: Proto<'FunctionProto'>, place: Place, file: string, context: DecodeContext): FunctionDef {
  const what = `function "${proto.domain}.${proto.name}"`;
  if (proto.name === '') throw badModel('a function has no name', { file });
  const body = decodeBody(proto, what, place, context);
  return {
    domain: domainName(proto.domain),
    name: proto.name,
    overload: proto.overload,
    body,
    attributes: [...proto.attribute],
    defaults: new Map(
      proto.attribute_proto.map((a, i) => [
        a.name,
        attribute(a, what, [...place, 11, i], {
          tensor: context.tensor,
          graph: (g, p) => decodeGraph(g, undefined, p, context),
        }),
      ]),
    ),
    opsets: opsetMap(proto.opset_import, what, file),
    docString: proto.doc_string,
    metadata: stringMap(proto.metadata_props),
    unknown: copies(proto.$unknowns ?? []),
  };
}
