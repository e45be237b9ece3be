"""Writes test/passes/normalize/operatorChanges.json: every version from 8 to 26 in which an operator of the default domain changed, and
whether its form (inputs, outputs, attributes with their defaults, deprecation) did.

    python scripts/operator-changes.py > test/passes/normalize/operatorChanges.json      (needs onnx >= 1.23)

An operator that is new is no change. The test beside the file asks for an upgrade rule, or a reason why none is needed.
"""
import collections
import json

import onnx.defs
import onnx.helper

NEWEST, OLDEST = 26, 7


def form(schema):
    def attribute(a):
        default = onnx.helper.get_attribute_value(a.default_value) if a.default_value.type else None
        return a.name, str(a.type), a.required, str(default)

    inputs = [str(p.option) for p in schema.inputs]
    outputs = [str(p.option) for p in schema.outputs]
    return inputs, outputs, sorted(map(attribute, schema.attributes.values())), schema.deprecated


history = collections.defaultdict(dict)
for schema in onnx.defs.get_all_schemas_with_history():
    if schema.domain == "" and schema.since_version <= NEWEST:
        history[schema.name][schema.since_version] = schema

changes = {}
for name, versions in sorted(history.items()):
    order = sorted(versions)
    old = [v for v in order if v <= OLDEST][-1:]
    order = old + [v for v in order if v > OLDEST]
    listed = {str(b): "form" if form(versions[a]) != form(versions[b]) else "same" for a, b in zip(order, order[1:])}
    if listed:
        changes[name] = listed
print(json.dumps(changes, indent=None, separators=(",", ":")).replace("},", "},\n ").replace("{\"Abs", "{\n \"Abs"))
