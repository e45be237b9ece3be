/** Calls of model-local functions, which a compile inlines. */
import { createBuilder } from '../../../src/graph/builder.ts';
import { type Attr, type FunctionDef, Graph, Value } from '../../../src/graph/model.ts';
import type { Step } from './step.ts';

export const localDomain = 'local';

/** (x, y?) -> f(x)·y or f(x), and x + y; the attribute of the call scales. */
function mixed(name: string, opset: number, inner: FunctionDef | undefined): FunctionDef {
  const body = new Graph(name);
  const g = createBuilder();
  const [x, y] = [new Value('x'), new Value('y')];
  body.inputs.push(x, y);
  const [called = x] =
    inner === undefined ? [] : g.node({ op: inner.name, domain: localDomain, inputs: [x, y], outputs: 2 });
  const factor = g.Constant();
  const attr: Attr = { kind: 'ref', value: 'factor', type: 1 };
  factor.producer?.attrs.set('value_float', attr);
  const product = g.Mul(g.Mul(g.Tanh(called), g.CastLike(factor, x)), y);
  body.outputs.push(product, g.Add(g.Sin(x), y));
  body.adopt();
  return {
    domain: localDomain,
    name,
    overload: '',
    body,
    attributes: [],
    defaults: new Map([['factor', { kind: 'float', value: 0.5 }]]),
    opsets: new Map([['', opset], ...(inner === undefined ? [] : [[localDomain, 1] as const])]),
    docString: '',
    metadata: new Map(),
    unknown: [],
  };
}

export const steps: readonly Step[] = [
  {
    ops: [],
    make: (d) => {
      const x = d.pick();
      const y = d.operand(d.oneOf([x.shape, x.shape.slice(1), []]));
      const known = d.functions.at(-1);
      let f = d.draw(2) === 0 ? known : undefined;
      if (f === undefined) {
        f = mixed(`f${d.functions.length}`, d.opset, known);
        d.functions.push(f);
      }
      const attrs = d.draw(2) === 0 ? {} : { factor: d.oneOf([1.5, -0.25]) };
      const two = d.draw(2) === 0;
      const [a, b] = d.g.node({
        op: f.name,
        domain: localDomain,
        inputs: [x.value, y.value],
        attrs,
        // ONNX Runtime wants all of them named.
        outputs: 2,
      });
      if (a !== undefined) d.put(a, 1.5 * y.bound, x.shape);
      if (b !== undefined && two) d.put(b, 1 + y.bound, x.shape);
    },
  },
];
