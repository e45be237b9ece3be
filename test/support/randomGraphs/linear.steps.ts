/** Products. In float32 some weights are adapted: a constant named `layerN.weight` is a layer. */
import { sizeOf } from '../../../src/graph/layers.ts';
import type { Value } from '../../../src/graph/model.ts';
import { broadcast, type Draft, type Entry } from './draft.ts';
import { frozen, layered } from './layer.ts';
import { some } from './layout.steps.ts';
import type { Step } from './step.ts';

/** A matrix that becomes a layer, sometimes read through a Transpose or out of int8. */
function weight(d: Draft, rows: number, columns: number): Value {
  const turned = d.draw(3) === 0;
  const dims = turned ? [columns, rows] : [rows, columns];
  const stored = d.draw(3) === 0 ? quantized(d, dims) : frozen(d, d.type, dims, () => Math.fround(2 * d.next() - 1));
  return turned ? d.g.Transpose(stored, { perm: [1, 0] }) : stored;
}

function quantized(d: Draft, dims: readonly number[]): Value {
  const q = frozen(d, 'int8', dims, () => Math.floor(200 * d.next()) - 100);
  const axis = d.draw(3);
  const count = dims[axis];
  const shape = count === undefined ? [] : [count];
  const scale = d.constant(
    shape,
    Array.from({ length: count ?? 1 }, () => Math.fround(0.005 + 0.004 * d.next())),
  );
  const zero = d.draw(2) === 0 ? d.g.constant('int8', shape, new Array<number>(count ?? 1).fill(3)) : undefined;
  return d.g.DequantizeLinear(q, scale, zero, count === undefined ? {} : { axis });
}

/** Subscripts with the shapes they need, by length of `i` to `l`. */
const equations: readonly [readonly string[], ...(readonly string[])[]] = [
  ['ij,jk->ik', 'ij', 'jk'],
  ['ij,jk', 'ij', 'jk'],
  ['bij,bjk->bik', 'bij', 'bjk'],
  ['i,j->ij', 'i', 'j'],
  ['ij->ji', 'ij'],
  ['ij->i', 'ij'],
  ['ij,ij->', 'ij', 'ij'],
  ['ij,kl->il', 'ij', 'kl'],
  ['...ij,jk->...ik', 'bij', 'jk'],
  ['...i,i->...', 'bij', 'j'],
  ['ij,jk,kl->il', 'ij', 'jk', 'kl'],
];

export const steps: readonly Step[] = [
  {
    ops: ['MatMul'],
    make: (d) => {
      const a = some(d);
      const k = a.shape.at(-1) ?? 1;
      const rows = a.shape.length > 1 ? a.shape.slice(0, -1) : [];
      const n = 1 + d.draw(3);
      const batch = rows.slice(0, -1).map((m) => (d.draw(2) === 0 ? m : 1));
      const shape = d.oneOf([[k, n], [k, n], [k], [...batch, k, n], [2, k, n]]);
      const both = broadcast(shape.length > 2 ? shape.slice(0, -2) : [], rows.slice(0, -1));
      if (both === undefined || both.length > 2 || sizeOf([...both, rows.at(-1) ?? 1, n]) > 64) return;
      const dims = [...both, ...(a.shape.length > 1 ? [rows.at(-1) ?? 1] : []), ...(shape.length > 1 ? [n] : [])];
      const found = d.draw(2) === 0 ? d.find((e) => e !== a && e.shape.join() === shape.join()) : undefined;
      const b = found ?? d.operand(shape);
      d.put(d.g.MatMul(a.value, b.value), k * a.bound * b.bound, dims);
    },
  },
  {
    ops: ['MatMul'],
    only: 'float32',
    make: (d) => {
      const x = some(d);
      const k = x.shape.at(-1) ?? 1;
      const n = 1 + d.draw(4);
      const y = d.g.MatMul(x.value, weight(d, k, n));
      const bias = d.draw(3);
      const c = bias === 0 ? undefined : d.operand(bias === 1 ? [n] : [1]);
      const sum = c === undefined ? y : d.draw(2) === 0 ? d.g.Add(y, c.value) : d.g.Add(c.value, y);
      d.put(sum, 3 * k * x.bound + (c?.bound ?? 0), [...x.shape.slice(0, -1), n]);
    },
  },
  {
    // W·x
    ops: ['MatMul'],
    only: 'float32',
    make: (d) => {
      const x = some(d);
      const k = x.shape.at(x.shape.length > 1 ? -2 : -1) ?? 1;
      const n = 1 + d.draw(4);
      const dims = x.shape.length > 1 ? x.shape.with(-2, n) : [n];
      d.put(d.g.MatMul(weight(d, n, k), x.value), 3 * k * x.bound, dims);
    },
  },
  {
    ops: ['Gemm'],
    make: (d) => {
      const x = d.ranked(2);
      const [transA, transB] = [d.draw(2), d.draw(2)];
      const [m = 1, k = 1] = transA === 1 ? x.shape.toReversed() : x.shape;
      const n = 1 + d.draw(4);
      const shape = transB === 1 ? [n, k] : [k, n];
      const isLayer = layered(d);
      const b: Entry = isLayer ? { value: weight(d, shape[0] ?? 1, shape[1] ?? 1), shape, bound: 3 } : d.operand(shape);
      const c = d.draw(3) === 0 ? undefined : d.operand(d.oneOf([[], [n], [m, 1], [1, n], [m, n], [1]]));
      const attrs = { transA, transB, ...d.oneOf([{}, {}, { alpha: 0.5 }, { beta: -1.5 }, { alpha: 2, beta: 0.5 }]) };
      const y = d.g.Gemm(x.value, b.value, c?.value, attrs);
      d.put(y, 2 * k * x.bound * b.bound + 1.5 * (c?.bound ?? 0), [m, n]);
    },
  },
  {
    ops: ['com.microsoft.MatMulNBits'],
    only: 'float32',
    // Its gradient reads the weight as blocks of DequantizeLinear.
    since: 21,
    make: (d) => {
      const x = some(d);
      const k = x.shape.at(-1) ?? 1;
      const [n, bits, block] = [1 + d.draw(4), d.oneOf([4, 8]), 16];
      const packed = frozen(d, 'uint8', [n, 1, (block * bits) / 8], () => Math.floor(256 * d.next()));
      const scales = d.g.constant(
        'float32',
        [n],
        Array.from({ length: n }, () => Math.fround((0.5 + d.next()) / 2 ** bits)),
      );
      const [y] = d.g.node({
        op: 'MatMulNBits',
        domain: 'com.microsoft',
        inputs: [x.value, packed, scales],
        attrs: { K: k, N: n, bits, block_size: block },
        outputs: 1,
      });
      if (y !== undefined) d.put(y, 3 * k * x.bound, [...x.shape.slice(0, -1), n]);
    },
  },
  {
    ops: ['Einsum'],
    make: (d) => {
      const [equation = '', ...terms] = d.oneOf(equations);
      const size = new Map<string, number>();
      const list = terms.map((term): Entry => {
        const known = [...term].map((c) => size.get(c));
        const fits = (e: Entry): boolean =>
          e.shape.length === term.length && e.shape.every((n, i) => known[i] === undefined || known[i] === n);
        const e = d.find(fits) ?? d.operand(known.map((n) => n ?? 1 + d.draw(3)));
        for (const [i, c] of [...term].entries()) size.set(c, e.shape[i] ?? 1);
        return e;
      });
      if (sizeOf([...size.values()]) > 256) return;
      const y = d.g.Einsum(
        list.map((e) => e.value),
        { equation },
      );
      d.put(y, sizeOf([...size.values()]) * list.reduce((b, e) => b * e.bound, 1));
    },
  },
];
