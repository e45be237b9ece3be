/** Scan of opset 8, which had its own batch axis. https://onnx.ai/onnx/operators/onnx__Scan.html#scan-8 */
import { unsupportedVersion } from '../../../errors.ts';
import { cloneValue } from '../../../graph/clone.ts';
import { Graph, Node, type Value } from '../../../graph/model.ts';
import { type Upgrade, upgrade } from '../upgrade.ts';

export const controlUpgrades: readonly Upgrade[] = [
  // One Scan over the batch around one over the sequence: the state of each row is a slice of the given state.
  upgrade('Scan', { until: 8 }, ({ node, inputs, attrs, g }) => {
    const [lengths, ...data] = inputs;
    const body = attrs.graph('body');
    const scanned = attrs.int('num_scan_inputs') ?? 0;
    if (lengths !== undefined || body === undefined)
      throw unsupportedVersion('Scan of opset 8 with sequence lengths has no newer form', { node: node.label });
    const given = data.filter((v): v is Value => v !== undefined);
    const directions = attrs.ints('directions') ?? [];
    const rows = given.map((v, i) => named(body.inputs[i] ?? v, 'row'));
    const results = body.outputs.map((v) => named(v, 'row'));
    const inner = new Node({ op: 'Scan', name: `${node.name || 'Scan'}.sequence`, inputs: rows, outputs: results });
    inner.attrs.set('body', { kind: 'graph', value: body });
    inner.attrs.set('num_scan_inputs', { kind: 'int', value: scanned });
    if (directions.length > 0) inner.attrs.set('scan_input_directions', { kind: 'ints', value: directions });
    const outer = new Graph(`${body.name}_row`);
    outer.inputs.push(...rows);
    outer.outputs.push(...results);
    outer.append(inner);
    return g.node({
      op: 'Scan',
      inputs: given,
      attrs: { body: outer, num_scan_inputs: given.length },
      outputs: node.outputs.length,
    });
  }),
];

function named(value: Value, suffix: string): Value {
  const v = cloneValue(value);
  v.name = `${value.name}.${suffix}`;
  v.type = undefined;
  return v;
}
