import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import {
  type Delta,
  encodeModel,
  mergeWeights,
  planWeights,
  splicedSource,
  type UntieEdit,
  type WeightEdit,
  writeSkeleton,
  writeWeights,
} from '../../src/emit/index.ts';
import { roundToBfloat, roundToHalf } from '../../src/emit/mergeMath.ts';
import type { Model, Node } from '../../src/graph/model.ts';
import {
  bfloatToNumber,
  bytesOf,
  halfToNumber,
  memorySource,
  numbersOf,
  numberToHalf,
  type Tensor,
  tensorOf,
} from '../../src/graph/tensor.ts';
import { type Parsed, parseFile, parseSource } from '../../src/parser/index.ts';
import {
  chain,
  concat,
  message,
  modelBytes,
  node,
  number,
  tensorBytes,
  text,
  valueInfo,
} from '../support/matMulChain.ts';
import { random } from '../support/sessionFeeds.ts';
import { describeShared, sharedPath } from '../support/sharedMaterial.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function delta(layout: Delta['layout'], rows: number, columns: number, seed: number, rank = 3, size = 0.5): Delta {
  const next = random(seed);
  const [inside, out] = layout === 'in_out' ? [rows, columns] : [columns, rows];
  const draw = (n: number): Float32Array => Float32Array.from({ length: n }, () => (next() - 0.5) * 2 * size);
  return { A: draw(inside * rank), B: draw(rank * out), in: inside, out, scale: 0.75, layout };
}

/** W + scale·A·B element by element, as numbers. */
function expected(w: readonly number[], deltas: readonly Delta[]): number[] {
  return w.map((value, i) => {
    let sum = value;
    for (const d of deltas) {
      const columns = d.layout === 'in_out' ? d.out : d.in;
      const [row, column] = [Math.floor(i / columns), i % columns];
      const [a, o] = d.layout === 'in_out' ? [row, column] : [column, row];
      const rank = d.A.length / d.in;
      for (let k = 0; k < rank; k++) sum += d.scale * (d.A[a * rank + k] ?? 0) * (d.B[k * d.out + o] ?? 0);
    }
    return sum;
  });
}

const values = (n: number, seed: number): number[] => {
  const next = random(seed);
  return Array.from({ length: n }, () => Math.fround(next() * 4 - 2));
};

/** The tensor with this name, wherever it is in the main graph. */
function weight(model: Model, name: string): Tensor {
  const found = model.graph.initializers.find((v) => v.name === name)?.tensor;
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
}

function nodeNamed(model: Model, name: string): Node {
  for (const n of model.graph.allNodes()) if (n.name === name) return n;
  throw new Error(`no node ${name}`);
}

function merge(parsed: Parsed, edits: WeightEdit[], unties: UntieEdit[] = []) {
  const path = join(temporaryFolder(), 'merged.onnx');
  const result = mergeWeights(parsed.source, edits, unties, path);
  return { path, result, again: parseFile(path), bytes: readFileSync(path) };
}

describe('rounding', () => {
  it('to float16 equals the exact rule, near ties and at both ends', () => {
    const wrong: number[] = [];
    for (let h = 0; h < 0x7c00; h++) {
      const x = halfToNumber(h);
      const up = h === 0x7bff ? 65536 : halfToNumber(h + 1);
      const tie = (x + up) / 2;
      const right =
        roundToHalf(x) === h &&
        roundToHalf(-x) === (h | 0x8000) &&
        // float64 numbers beside the tie that a float32 cannot tell from it.
        roundToHalf(tie * (1 - 2 ** -52)) === h &&
        roundToHalf(tie * (1 + 2 ** -52)) === h + 1 &&
        roundToHalf(tie) === h + (h & 1) &&
        roundToHalf(tie) === numberToHalf(tie);
      if (!right) wrong.push(h);
    }
    expect(wrong).toEqual([]);
    expect([1e-30, 1e30, Number.NaN].map(roundToHalf)).toEqual([0, 0x7c00, 0x7e00]);
  });

  it('to bfloat16 does not round twice', () => {
    const wrong: number[] = [];
    for (let b = 0; b < 0x7f7f; b++) {
      const [x, up] = [bfloatToNumber(b), bfloatToNumber(b + 1)];
      const tie = (x + up) / 2;
      const beside = roundToBfloat(tie * (1 - 2 ** -52)) === b && roundToBfloat(tie * (1 + 2 ** -52)) === b + 1;
      if (roundToBfloat(x) !== b || roundToBfloat(tie) !== b + (b & 1) || !beside) wrong.push(b);
    }
    expect(wrong).toEqual([]);
  });
});

describe('merge', () => {
  for (const dtype of ['float32', 'float64', 'float16', 'bfloat16'] as const)
    for (const layout of ['in_out', 'out_in'] as const)
      it(`changes only the weight: ${dtype}, ${layout}`, () => {
        const [rows, columns] = [37, 53];
        const w = tensorOf(dtype, [rows, columns], values(rows * columns, 1));
        const other = tensorOf(dtype, [columns, 40], values(columns * 40, 2));
        const bytes = encodeModel(
          chain([
            { name: 'w', tensor: w },
            { name: 'other', tensor: other },
          ]),
        );
        const parsed = parseSource(memorySource('m', bytes));
        const d = delta(layout, rows, columns, 3);
        const tensor = weight(parsed.model, 'w');
        const { again, bytes: out, result } = merge(parsed, [{ layer: 'a', tensor, delta: d }]);
        expect(result).toEqual({ bytes: out.length, dataFile: undefined });
        const have = numbersOf(weight(again.model, 'w')) ?? [];
        const exact = expected(numbersOf(w) ?? [], [d]);
        const want = numbersOf(tensorOf(dtype === 'float64' ? 'float64' : dtype, [rows, columns], exact)) ?? [];
        // The sums are added in another order here: a last bit of float64, and so a rare last bit of the narrower type.
        const unit = { float32: 2 ** -23, float64: 2 ** -50, float16: 2 ** -10, bfloat16: 2 ** -7 }[dtype];
        have.forEach((x, i) => {
          expect(Math.abs(x - (want[i] ?? 0))).toBeLessThanOrEqual(unit * Math.max(1, Math.abs(x)));
        });
        expect(have.filter((x, i) => x !== want[i]).length).toBeLessThan(dtype === 'float64' ? have.length : 4);
        // Every other byte is the source's.
        const at = Buffer.from(bytes).indexOf(Buffer.from(bytesOf(w)));
        expect(out.length).toBe(bytes.length);
        expect(sha(out.subarray(0, at))).toBe(sha(bytes.subarray(0, at)));
        expect(sha(out.subarray(at + w.byteLength))).toBe(sha(bytes.subarray(at + w.byteLength)));
      });

  it('adds several edits of one tensor', () => {
    const w = tensorOf('float32', [30, 20], values(600, 1));
    const parsed = parseSource(memorySource('m', encodeModel(chain([{ name: 'w', tensor: w }]))));
    const tensor = weight(parsed.model, 'w');
    // The second layer reads the same memory as the transpose of its weight.
    const deltas = [delta('in_out', 30, 20, 5), delta('out_in', 30, 20, 6)];
    const { again } = merge(
      parsed,
      deltas.map((d, i) => ({ layer: `l${i}`, tensor, delta: d })),
    );
    const have = numbersOf(weight(again.model, 'w')) ?? [];
    expected(numbersOf(w) ?? [], deltas).forEach((x, i) => {
      expect(have[i]).toBeCloseTo(x, 5);
    });
  });

  it('with B = 0 leaves every byte, signed zeros included', () => {
    const w = tensorOf(
      'float16',
      [40, 20],
      values(800, 1).map((v, i) => (i % 3 === 0 ? -0 : v)),
    );
    const bytes = encodeModel(chain([{ name: 'w', tensor: w }]));
    const parsed = parseSource(memorySource('m', bytes));
    const d = delta('in_out', 40, 20, 5);
    const { bytes: out } = merge(parsed, [
      { layer: 'l', tensor: weight(parsed.model, 'w'), delta: { ...d, B: new Float32Array(d.B.length) } },
    ]);
    expect(sha(out)).toBe(sha(bytes));
  });

  it('refuses what it cannot write', () => {
    const w = tensorOf('int8', [4, 4], values(16, 1).map(Math.trunc));
    const parsed = parseSource(memorySource('m', encodeModel(chain([{ name: 'w', tensor: w }]))));
    const tensor = weight(parsed.model, 'w');
    const d = delta('in_out', 4, 4, 1);
    expect(() => merge(parsed, [{ layer: 'a.b', tensor, delta: d }])).toThrow(
      expect.objectContaining({ code: 'NOT_MERGEABLE', message: expect.stringContaining('a.b') }),
    );
    const f = tensorOf('float16', [4, 4], values(16, 1));
    const half = parseSource(memorySource('m', encodeModel(chain([{ name: 'w', tensor: f }]))));
    expect(() => merge(half, [{ layer: 'a.b', tensor: f, delta: d }])).toThrow(
      expect.objectContaining({ code: 'NOT_MERGEABLE' }),
    );
    expect(() => merge(half, [{ layer: 'a.b', tensor: weight(half.model, 'w'), delta: { ...d, scale: 1e9 } }])).toThrow(
      expect.objectContaining({ code: 'MERGE_MISMATCH' }),
    );
    expect(() =>
      merge(half, [{ layer: 'a', tensor: weight(half.model, 'w'), delta: delta('in_out', 5, 4, 1) }]),
    ).toThrow(expect.objectContaining({ code: 'NOT_MERGEABLE' }));
  });

  const floats = values(24 * 16, 9);
  const f32 = new Uint8Array(Float32Array.from(floats).buffer);
  const halves = floats.map(numberToHalf);
  const varints = (bits: readonly number[]): Uint8Array =>
    concat(
      ...bits.map((b) =>
        b < 128 ? [b] : b < 16384 ? [(b & 127) | 128, b >> 7] : [(b & 127) | 128, ((b >> 7) & 127) | 128, b >> 14],
      ),
    );
  const storages: Readonly<Record<string, readonly [number, ...Uint8Array[]]>> = {
    raw_data: [1, message(9, f32)],
    'float_data packed': [1, message(4, f32)],
    'float_data in two runs': [1, message(4, f32.subarray(0, 400)), message(4, f32.subarray(400))],
    'float_data unpacked': [1, concat(...floats.map((_, i) => [0x25, ...f32.subarray(i * 4, i * 4 + 4)]))],
    double_data: [11, message(10, new Uint8Array(Float64Array.from(floats).buffer))],
    'float16 in int32_data': [10, message(5, varints(halves))],
    'float16 unpacked': [10, concat(...halves.map((h) => [0x28, ...varints([h])]))],
  };
  for (const [name, [elem, ...payload]] of Object.entries(storages))
    it(`keeps the storage: ${name}`, async () => {
      const head = [number(77, 5), text(12, 'kept')];
      const bytes = modelBytes(
        valueInfo(11, 'x', elem, ['N', 24]),
        message(5, tensorBytes('w', elem, [24, 16], ...payload, ...head)),
        node('MatMul', ['x', 'w'], ['y'], text(3, 'mm')),
        valueInfo(12, 'y', elem, ['N', 16]),
      );
      const parsed = parseSource(memorySource('m', bytes));
      const tensor = weight(parsed.model, 'w');
      const before = numbersOf(tensor) ?? [];
      const d = delta('in_out', 24, 16, 4);
      const { again, path } = merge(parsed, [{ layer: 'l', tensor, delta: d }]);
      const after = weight(again.model, 'w');
      expect(after.docString).toBe('kept');
      expect(after.origin?.unknown).toEqual([number(77, 5)]);
      const have = numbersOf(after) ?? [];
      const want = numbersOf(tensorOf(tensor.dtype, [24, 16], expected(before, [d]))) ?? [];
      have.forEach((x, i) => {
        expect(x).toBeCloseTo(want[i] ?? 0, elem === 10 ? 2 : 5);
      });
      await ort.InferenceSession.create(path, { logSeverityLevel: 3 });
    });

  /** w is read by a Gather as well as by two MatMuls. */
  function tied(irVersion: number): Uint8Array {
    const graph = concat(
      text(2, 'g'),
      node('Gather', ['w', 'i'], ['e'], text(3, 'gather')),
      node('MatMul', ['e', 'w'], ['y'], text(3, 'mm')),
      message(5, tensorBytes('w', 1, [20, 20], message(9, new Uint8Array(Float32Array.from(values(400, 3)).buffer)))),
      valueInfo(11, 'i', 7, ['N']),
      ...(irVersion < 4 ? [valueInfo(11, 'w', 1, [20, 20])] : []),
      valueInfo(12, 'y', 1, ['N', 20]),
    );
    return concat(number(1, irVersion), message(8, text(1, ''), number(2, 11)), message(7, graph));
  }

  for (const ir of [3, 8])
    it(`unties a shared weight, IR ${ir}`, async () => {
      const parsed = parseSource(memorySource('m', tied(ir)));
      const tensor = weight(parsed.model, 'w');
      const d = delta('in_out', 20, 20, 8);
      const { again, path } = merge(
        parsed,
        [],
        [{ layer: 'l', tensor, delta: d, name: 'w.l', uses: [{ node: nodeNamed(parsed.model, 'mm'), input: 1 }] }],
      );
      expect(nodeNamed(again.model, 'gather').inputs[0]?.name).toBe('w');
      expect(nodeNamed(again.model, 'mm').inputs.map((v) => v?.name)).toEqual(['e', 'w.l']);
      expect(sha(bytesOf(weight(again.model, 'w')))).toBe(sha(bytesOf(tensor)));
      const session = await ort.InferenceSession.create(path, { logSeverityLevel: 3 });
      const { y } = await session.run({
        i: new ort.Tensor('int64', BigInt64Array.from([3n]), [1]),
        ...(ir < 4 ? { w: new ort.Tensor('float32', Float32Array.from(numbersOf(tensor) ?? []), [20, 20]) } : {}),
      });
      const w = numbersOf(tensor) ?? [];
      const m = expected(w, [d]);
      for (let j = 0; j < 20; j++) {
        let want = 0;
        for (let k = 0; k < 20; k++) want += (w[60 + k] ?? 0) * (m[k * 20 + j] ?? 0);
        expect(Number(y?.data[j])).toBeCloseTo(want, 3);
      }
    });

  it('unties inside a function with a Constant node', async () => {
    const w = message(
      5,
      text(1, 'value'),
      message(5, tensorBytes('', 1, [20, 20], message(9, new Uint8Array(Float32Array.from(values(400, 3)).buffer)))),
      number(20, 4),
    );
    const inside = (op: string, inputs: string[], outputs: string[], ...more: Uint8Array[]): Uint8Array => {
      const n = node(op, inputs, outputs, ...more);
      // A function's nodes are field 7.
      return concat([0x3a], n.subarray(1));
    };
    const bytes = concat(
      number(1, 8),
      message(8, text(1, ''), number(2, 17)),
      message(8, text(1, 'own'), number(2, 1)),
      message(
        7,
        text(2, 'g'),
        node('F', ['x'], ['y'], text(7, 'own')),
        valueInfo(11, 'x', 1, ['N', 20]),
        valueInfo(12, 'y', 1, ['N', 20]),
      ),
      message(
        25,
        text(1, 'F'),
        text(4, 'a'),
        text(5, 'b'),
        inside('Constant', [], ['w'], w),
        inside('MatMul', ['a', 'w'], ['h'], text(3, 'first')),
        inside('MatMul', ['h', 'w'], ['b'], text(3, 'second')),
        message(9, text(1, ''), number(2, 17)),
        text(10, 'own'),
      ),
    );
    const parsed = parseSource(memorySource('m', bytes));
    const body = parsed.model.functions[0]?.body;
    const constantNode = body?.nodes[0]?.attrs.get('value');
    const second = body?.nodes[2];
    if (constantNode?.kind !== 'tensor' || second === undefined) throw new Error('not as written');
    const { again, path } = merge(
      parsed,
      [],
      [
        {
          layer: 'l',
          tensor: constantNode.value,
          delta: delta('in_out', 20, 20, 8),
          name: 'w2',
          uses: [{ node: second, input: 1 }],
        },
      ],
    );
    expect(again.model.functions[0]?.body.nodes.map((n) => [n.op, n.inputs.map((v) => v?.name)])).toEqual([
      ['Constant', []],
      ['MatMul', ['a', 'w']],
      ['Constant', []],
      ['MatMul', ['h', 'w2']],
    ]);
    await ort.InferenceSession.create(path, { logSeverityLevel: 3 });
  });
});

describe('merge with external data', () => {
  /** a and b share bytes of one file, c lies in another one, without an offset. */
  function source() {
    const folder = temporaryFolder();
    const data = Float32Array.from(values(1200, 1));
    writeFileSync(join(folder, 'one.bin'), new Uint8Array(data.buffer, 0, 800 * 4));
    mkdirSync(join(folder, 'sub'));
    writeFileSync(join(folder, 'sub', 'two.bin'), new Uint8Array(data.buffer, 800 * 4));
    const external = (location: string, offset?: number, ...more: Uint8Array[]): Uint8Array =>
      concat(
        message(13, text(1, 'location'), text(2, location)),
        ...(offset === undefined ? [] : [message(13, text(1, 'offset'), text(2, String(offset)))]),
        ...more,
        number(14, 1),
      );
    const checksum = message(13, text(1, 'checksum'), text(2, 'abc'));
    const bytes = modelBytes(
      valueInfo(11, 'x', 1, ['N', 20]),
      message(5, tensorBytes('a', 1, [20, 20], external('one.bin', 0))),
      message(5, tensorBytes('b', 1, [20, 20], external('one.bin', 800))),
      message(5, tensorBytes('d', 1, [20, 10], external('one.bin', 2400, checksum))),
      message(5, tensorBytes('c', 1, [20, 20], external('sub/two.bin'))),
      node('MatMul', ['x', 'a'], ['h1'], text(3, 'ma')),
      node('MatMul', ['h1', 'b'], ['h2'], text(3, 'mb')),
      node('MatMul', ['h2', 'c'], ['h3'], text(3, 'mc')),
      node('MatMul', ['h3', 'd'], ['y'], text(3, 'md')),
      valueInfo(12, 'y', 1, ['N', 10]),
    );
    writeFileSync(join(folder, 'm.onnx'), bytes);
    return parseFile(join(folder, 'm.onnx'));
  }

  it('puts everything into one data file; shared bytes change for one reader only', async () => {
    const parsed = source();
    const before = Object.fromEntries(['a', 'b', 'c', 'd'].map((n) => [n, numbersOf(weight(parsed.model, n)) ?? []]));
    const edit = (name: string, columns: number, seed: number): WeightEdit => ({
      layer: name,
      tensor: weight(parsed.model, name),
      delta: delta('in_out', 20, columns, seed),
    });
    const edits = [edit('a', 20, 1), edit('c', 20, 2), edit('d', 10, 3)];
    const copy = { ...edit('b', 20, 4), name: 'b2', uses: [{ node: nodeNamed(parsed.model, 'mb'), input: 1 }] };
    const { path, result, again } = merge(parsed, edits, [copy]);
    expect(result.dataFile).toBe('merged.onnx.data');
    expect(again.source.externalFiles.map((f) => f.location)).toEqual(['merged.onnx.data']);
    const want: Readonly<Record<string, number[]>> = {
      a: expected(before.a ?? [], [edits[0]?.delta ?? copy.delta]),
      b: before.b ?? [],
      c: expected(before.c ?? [], [edits[1]?.delta ?? copy.delta]),
      d: expected(before.d ?? [], [edits[2]?.delta ?? copy.delta]),
      b2: expected(before.b ?? [], [copy.delta]),
    };
    for (const [name, list] of Object.entries(want)) {
      const have = numbersOf(weight(again.model, name)) ?? [];
      expect(have.length).toBe(list.length);
      have.forEach((x, i) => {
        expect(x, name).toBeCloseTo(list[i] ?? 0, 5);
      });
    }
    const session = await ort.InferenceSession.create(path, { logSeverityLevel: 3 });
    const { y } = await session.run({ x: new ort.Tensor('float32', new Float32Array(20).fill(0.1), [1, 20]) });
    expect(y?.dims).toEqual([1, 10]);
  });

  it('changes in place where it can, and keeps the rest of the file', () => {
    const parsed = source();
    const { path } = merge(parsed, [
      { layer: 'd', tensor: weight(parsed.model, 'd'), delta: delta('in_out', 20, 10, 3) },
    ]);
    const data = readFileSync(`${path}.data`);
    const [one, two] = parsed.source.externalFiles.map((f) => readFileSync(f.path));
    if (one === undefined || two === undefined) throw new Error('two files');
    expect(sha(data.subarray(0, 2400))).toBe(sha(one.subarray(0, 2400)));
    expect(sha(data.subarray(2400, 3200))).not.toBe(sha(one.subarray(2400, 3200)));
    expect(sha(data.subarray(4096))).toBe(sha(two));
    expect(existsSync(path)).toBe(true);
  });
});

describeShared('merge of a package', 'parity', () => {
  for (const name of ['mlp_classifier', 'bert_cls'])
    it(`${name}: from the spliced source as from the file`, async () => {
      const file = sharedPath('parity', name, 'base.onnx');
      const folder = temporaryFolder();
      const direct = parseFile(file);
      const plan = planWeights([direct.model], direct.source.externalFiles);
      await writeWeights(plan, folder);
      const spliced = splicedSource(folder, writeSkeleton(direct.source, plan, folder));
      const parsed = parseSource(spliced, folder, spliced.close);
      const edits = ({ model }: Parsed): WeightEdit[] =>
        model.graph.initializers.flatMap((v) => {
          const t = v.tensor;
          const [rows, columns, ...more] = t?.dims ?? [];
          if (t?.dtype !== 'float32' || rows === undefined || columns === undefined || more.length > 0) return [];
          return [{ layer: v.name, tensor: t, delta: delta('in_out', rows, columns, 7) }];
        });
      expect(edits(parsed).length).toBeGreaterThan(1);
      const [a, b] = [merge(direct, edits(direct)), merge(parsed, edits(parsed))];
      expect(sha(a.bytes)).toBe(sha(b.bytes));
      expect(a.bytes.length).toBe(readFileSync(file).length);
      parsed.source.close();
    });
});
