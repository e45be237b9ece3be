"""Checks the printer against the official parser: for every model, what is printed is read by onnx.parser and compared with
what onnx.load reads from the file: header, types, nodes, attributes, tensors bit for bit, functions.

    python scripts/check-print.py [--print COMMAND] MODEL.onnx|FOLDER ...

COMMAND prints the text of the model whose path is appended (default: node scripts/print.ts). Needs onnx >= 1.23; models that
the syntax cannot hold are listed with the printer's error. Exit status 1 where a text is refused or differs.
"""
import argparse
import collections
import concurrent.futures
import pathlib
import re
import shlex
import struct
import subprocess
import sys

import onnx
from onnx import numpy_helper, parser


def domain(name):
    return "" if name == "ai.onnx" else name


def opsets(imports):
    return {domain(o.domain): o.version for o in imports}


def dim(d):
    if d.HasField("dim_param") and d.dim_param:
        return d.dim_param
    return d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None


def value_type(t):
    kind = t.WhichOneof("value")
    if kind is None:
        return None
    v = getattr(t, kind)
    if kind in ("tensor_type", "sparse_tensor_type"):
        return kind, v.elem_type, [dim(d) for d in v.shape.dim] if v.HasField("shape") else None
    if kind in ("sequence_type", "optional_type"):
        return kind, value_type(v.elem_type)
    if kind == "map_type":
        return kind, v.key_type, value_type(v.value_type)
    return kind, v.domain, v.name


def infos(values):
    return {v.name: value_type(v.type) for v in values}


def tensor(t, folder):
    a = numpy_helper.to_array(t, folder)
    content = [bytes(s) if isinstance(s, bytes) else str(s).encode() for s in a.flat] if a.dtype == object else a.tobytes()
    return t.data_type, list(t.dims), content


def attribute(a, folder):
    kind = onnx.AttributeProto.AttributeType.Name(a.type)
    if a.ref_attr_name:
        return kind, "@" + a.ref_attr_name
    if kind == "FLOAT":
        return kind, struct.pack("<f", a.f)
    if kind == "FLOATS":
        return kind, [struct.pack("<f", f) for f in a.floats]
    if kind == "TENSOR":
        # Names that are no identifiers have no place in the syntax and are printed as comments.
        return kind, a.t.name if a.t.name.isascii() and a.t.name.isidentifier() else "", tensor(a.t, folder)
    if kind == "GRAPH":
        return kind, graph(a.g, folder)
    if kind == "TYPE_PROTO":
        return kind, value_type(a.tp)
    return kind, {"INT": a.i, "INTS": list(a.ints), "STRING": a.s, "STRINGS": list(a.strings)}.get(kind, "empty")


def node(n, folder):
    return {
        "op": (domain(n.domain), n.op_type, n.overload),
        "name": n.name,
        "inputs": list(n.input),
        "outputs": list(n.output),
        "attributes": {a.name: attribute(a, folder) for a in n.attribute},
    }


def nodes(all_nodes, folder):
    """In an order of their own: files whose nodes are not sorted by what they need are sorted when they are read."""
    return sorted((node(n, folder) for n in all_nodes), key=lambda n: (n["outputs"], n["inputs"], n["op"], n["name"]))


def graph(g, folder):
    return {
        "name": g.name,
        "inputs": [(v.name, value_type(v.type)) for v in g.input],
        "outputs": [(v.name, value_type(v.type)) for v in g.output],
        "infos": infos(g.value_info),
        "initializers": [(t.name, tensor(t, folder)) for t in g.initializer],
        "nodes": nodes(g.node, folder),
    }


def function(f, folder):
    return {
        "id": (domain(f.domain), f.name, f.overload),
        "inputs": list(f.input),
        "outputs": list(f.output),
        "attributes": list(f.attribute),
        "defaults": {a.name: attribute(a, folder) for a in f.attribute_proto},
        "opsets": opsets(f.opset_import),
        "doc": f.doc_string,
        "infos": infos(f.value_info),
        "nodes": nodes(f.node, folder),
    }


def model(m, folder=""):
    return {
        "header": (m.ir_version, m.producer_name, m.producer_version, m.domain, m.model_version, m.doc_string),
        "opsets": opsets(m.opset_import),
        "metadata": {p.key: p.value for p in m.metadata_props},
        "graph": graph(m.graph, folder),
        "functions": [function(f, folder) for f in m.functions],
    }


def difference(a, b, path="model"):
    """The first place where the two differ."""
    if type(a) is type(b) and isinstance(a, dict):
        if a.keys() != b.keys():
            return f"{path}: {sorted(a.keys() ^ b.keys())[:5]} in one only"
        pairs = [(a[k], b[k], f"{path}.{k}") for k in a]
    elif type(a) is type(b) and isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return f"{path}: {len(a)} and {len(b)} items"
        pairs = [(x, y, f"{path}[{i}]") for i, (x, y) in enumerate(zip(a, b))]
    else:
        return None if a == b else f"{path}: {a!r:.80} and {b!r:.80}"
    return next((d for d in (difference(*p) for p in pairs) if d), None)


def check(path, command):
    printed = subprocess.run([*command, str(path)], capture_output=True, text=True)
    if printed.returncode != 0:
        error = [line for line in printed.stderr.splitlines() if re.match(r"\w*[Ee]rror(\[\w+\])?: ", line)]
        return "not printed", (error or ["?"])[0]
    try:
        text = parser.parse_model(printed.stdout)
    except parser.ParseError as error:
        return "REFUSED", str(error)
    source = onnx.load(path)
    found = difference(model(source, str(path.parent)), model(text))
    return ("DIFFERS", found) if found else ("equal", f"{len(text.graph.node)} nodes, {len(printed.stdout)} characters")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("paths", nargs="+", type=pathlib.Path)
    args.add_argument("--print", default="node scripts/print.ts", dest="command")
    options = args.parse_args()
    files = [f for p in options.paths for f in (sorted(p.rglob("*.onnx")) if p.is_dir() else [p])]
    command = shlex.split(options.command)
    counts = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for file, (verdict, detail) in zip(files, pool.map(lambda f: check(f, command), files)):
            counts[verdict] += 1
            print(f"{verdict:12} {file}: {detail}")
    print(", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    sys.exit(1 if any(v.isupper() for v in counts) else 0)


if __name__ == "__main__":
    main()
