import { closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { encodeModel, planWeights, startWeights, writeWeights } from '../../src/emit/index.ts';
import { constant, Graph, Node, tensorType, Value } from '../../src/graph/model.ts';
import { bytesOf, memorySource, type Tensor, tensorOf } from '../../src/graph/tensor.ts';
import { parseFile, parseSource } from '../../src/parser/index.ts';
import {
  chain,
  concat,
  emptyModel,
  message,
  node,
  number,
  tensorBytes,
  text,
  valueInfo,
} from '../support/matMulChain.ts';
import { random } from '../support/sessionFeeds.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';

const values = (n: number, seed: number): number[] => {
  const next = random(seed);
  return Array.from({ length: n }, () => next() - 0.5);
};

const matrix = (rows: number, columns: number, seed: number): Tensor =>
  tensorOf('float32', [rows, columns], values(rows * columns, seed));

describe('weights', () => {
  it('are stored once for all graphs, aligned; small and trainable ones stay inside', async () => {
    const [a, b] = [matrix(30, 30, 1), matrix(30, 30, 2)];
    const small = matrix(16, 16, 3);
    const trained: Tensor = { ...matrix(30, 30, 4), metadata: new Map([['loraify.trainable', 'true']]) };
    const again: Tensor = { ...a };
    const models = [
      chain([
        { name: 'a', tensor: a },
        { name: 'b', tensor: b },
        { name: 't', tensor: trained },
      ]),
      chain([
        { name: 'a2', tensor: again },
        { name: 's', tensor: small },
        { name: 'b', tensor: b },
      ]),
    ];
    const plan = planWeights(models);
    expect(
      [...plan.placements].map(([t, p]) => [t === a || t === again ? 'a' : t === b ? 'b' : '?', p.offset]),
    ).toEqual([
      ['a', 0],
      ['b', 4096],
      ['a', 0],
    ]);
    const folder = temporaryFolder();
    await writeWeights(plan, folder);
    const file = readFileSync(join(folder, 'weights.bin'));
    expect(file.length).toBe(4096 + 3600);
    expect(file.subarray(0, 3600)).toEqual(Buffer.from(bytesOf(a)));
    expect(file.subarray(4096)).toEqual(Buffer.from(bytesOf(b)));
    expect(file.subarray(3600, 4096).every((x) => x === 0)).toBe(true);
    const [one, two] = models.map((m) => encodeModel(m, plan.placements));
    expect(one?.length).toBeGreaterThan(3600);
    expect(two?.length).toBeLessThan(2000);
  });

  it('are the same where they were started on a thread of their own, and where that thread fails', async () => {
    const folder = temporaryFolder();
    const bytes = new Uint8Array(Float32Array.from(values(90_000, 7)).buffer);
    const data = join(folder, 'data');
    writeFileSync(data, bytes);
    const fd = openSync(data, 'r');
    const range = (offset: number, read: number): Tensor => ({
      dtype: 'float32',
      dims: [200, 200],
      byteLength: 160_000,
      payload: { kind: 'range', source: { ...memorySource('data', bytes), fd: read }, offset },
    });
    const graphs = (read: number) => [
      chain([{ name: 'a', tensor: range(4, read) }]),
      chain([
        { name: 'b', tensor: range(160_004, read) },
        { name: 'c', tensor: matrix(200, 200, 8) },
      ]),
    ];
    const written = async (read: number, early: boolean): Promise<Buffer> => {
      const models = graphs(read);
      const out = temporaryFolder();
      const started = early ? startWeights(planWeights(models.slice(0, 1)), out) : undefined;
      await writeWeights(planWeights(models), out, started);
      await started?.end();
      return readFileSync(join(out, 'weights.bin'));
    };
    const plain = await written(fd, false);
    const same = (a: Buffer, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
    expect(same(plain.subarray(0, 160_000), bytes.subarray(4, 160_004))).toBe(true);
    expect(same(await written(fd, true), plain)).toBe(true);
    // No file has this descriptor.
    expect(same(await written(1 << 20, true), plain)).toBe(true);
    closeSync(fd);
  });

  it('nothing large: no file', async () => {
    const plan = planWeights([chain([{ name: 'a', tensor: matrix(16, 16, 1) }])]);
    const folder = temporaryFolder();
    await writeWeights(plan, folder);
    expect(plan.file).toBeUndefined();
    expect(existsSync(join(folder, 'weights.bin'))).toBe(false);
  });

  it("the source's data files are copied whole under their names, and its tensors stay where they were", async () => {
    const folder = temporaryFolder();
    const data = new Uint8Array(Float32Array.from(values(3000, 5)).buffer);
    mkdirSync(join(folder, 'sub'));
    writeFileSync(join(folder, 'sub', 'weights.bin'), data);
    writeFileSync(join(folder, 'weights.bin'), data);
    const external = (location: string, offset: number): Uint8Array =>
      concat(
        message(13, text(1, 'location'), text(2, location)),
        message(13, text(1, 'offset'), text(2, String(offset))),
        number(14, 1),
      );
    writeFileSync(
      join(folder, 'm.onnx'),
      concat(
        number(1, 8),
        message(8, text(1, ''), number(2, 17)),
        message(
          7,
          text(2, 'g'),
          valueInfo(11, 'x', 1, ['N', 20]),
          message(5, tensorBytes('a', 1, [20, 20], external('sub/weights.bin', 1236))),
          message(5, tensorBytes('b', 1, [20, 20], external('weights.bin', 4))),
          message(5, tensorBytes('c', 1, [20, 20], message(4, data.subarray(0, 1600)))),
          message(5, tensorBytes('s', 1, [20], external('weights.bin', 8))),
          node('MatMul', ['x', 'a'], ['h']),
          node('MatMul', ['h', 'b'], ['i']),
          node('MatMul', ['i', 'c'], ['j']),
          node('Add', ['j', 's'], ['y']),
          valueInfo(12, 'y', 1, ['N', 20]),
        ),
      ),
    );
    const { model, source } = parseFile(join(folder, 'm.onnx'));
    const plan = planWeights([model], source.externalFiles);
    expect(plan.file?.name).toBe('weights.bin.1');
    const out = temporaryFolder();
    await writeWeights(plan, out);
    expect(readFileSync(join(out, 'sub', 'weights.bin'))).toEqual(Buffer.from(data));
    expect(statSync(join(out, 'weights.bin.1')).size).toBe(1600);
    writeFileSync(join(out, 'm.onnx'), encodeModel(model, plan.placements));
    const again = parseFile(join(out, 'm.onnx'));
    expect(again.source.externalTensors.map((t) => t.origin?.external)).toEqual([
      { location: 'sub/weights.bin', offset: 1236, length: 1600 },
      { location: 'weights.bin', offset: 4, length: 1600 },
      { location: 'weights.bin.1', offset: 0, length: 1600 },
    ]);
    const x = { x: new ort.Tensor('float32', Float32Array.from(values(20, 6)), [1, 20]) };
    const run = async (path: string) => (await (await ort.InferenceSession.create(path)).run(x)).y?.data;
    expect(await run(join(out, 'm.onnx'))).toEqual(await run(join(folder, 'm.onnx')));
  });

  it('a data file cannot take the name of a file of the package', () => {
    for (const location of ['model.onnx', './train.onnx', 'LORAIFY.json', 'adapter/x', 'adapter\\x'])
      expect(() => planWeights([], [{ location, path: location }])).toThrow(
        expect.objectContaining({ code: 'BAD_MODEL' }),
      );
  });

  it('a tensor that is no longer what the source declared is written anew', () => {
    const external = { location: 'w.bin', offset: 0, length: 3600 };
    const t: Tensor = { ...matrix(30, 30, 1), origin: { external } };
    expect(
      planWeights([chain([{ name: 'a', tensor: t }])], [{ location: 'w.bin', path: 'w.bin' }]).placements.get(t),
    ).toEqual({
      location: 'weights.bin',
      offset: 0,
      length: 3600,
    });
  });

  /** Weights as Constant nodes: in the main graph, in the branches of an If, in a function. */
  it('load as external data of Constant nodes, in bodies and in functions too', async () => {
    const constantNode = (name: string, t: Tensor): Node =>
      new Node({
        op: 'Constant',
        outputs: [new Value(name)],
        attrs: [['value', { kind: 'tensor', value: t, name: '' }]],
      });
    const product = (name: string, from: Value | undefined, w: Node): Node =>
      new Node({ op: 'MatMul', inputs: [from, w.outputs[0]], outputs: [new Value(name)] });
    const graph = new Graph('g');
    const x = new Value('x', tensorType('float32', ['N', 20]));
    const c = new Value('c', tensorType('bool', []));
    graph.inputs.push(x, c);
    const branch = (name: string, seed: number): Graph => {
      const body = new Graph(name);
      const w = constantNode(`${name}.w`, matrix(20, 20, seed));
      const init = constant(`${name}.i`, matrix(20, 20, seed + 1));
      const [m] = [product(`${name}.h`, x, w)];
      const n = new Node({
        op: 'MatMul',
        inputs: [m.outputs[0], init],
        outputs: [new Value(`${name}.y`, tensorType('float32', ['N', 20]))],
      });
      body.initializers.push(init);
      body.append(w, m, n);
      body.outputs.push(...n.outputs);
      return body;
    };
    const choose = new Node({
      op: 'If',
      inputs: [c],
      outputs: [new Value('h')],
      attrs: [
        ['then_branch', { kind: 'graph', value: branch('a', 1) }],
        ['else_branch', { kind: 'graph', value: branch('b', 3) }],
      ],
    });
    const body = new Graph('F');
    const [p, w] = [new Value('p'), constantNode('w', matrix(20, 20, 5))];
    const inside = product('q', p, w);
    body.inputs.push(p);
    body.append(w, inside);
    body.outputs.push(...inside.outputs);
    const call = new Node({
      op: 'F',
      domain: 'own',
      inputs: [choose.outputs[0]],
      outputs: [new Value('y', tensorType('float32', ['N', 20]))],
    });
    graph.append(choose, call);
    graph.outputs.push(...call.outputs);
    const model = emptyModel(graph);
    model.opsets.set('own', 1);
    const f = {
      domain: 'own',
      name: 'F',
      overload: '',
      body,
      attributes: [],
      defaults: new Map(),
      opsets: new Map([['', 17]]),
      docString: '',
      metadata: new Map(),
      unknown: [],
    };
    model.functions.push(f);
    const plan = planWeights([model]);
    const folder = temporaryFolder();
    await writeWeights(plan, folder);
    expect(plan.placements.size).toBe(5);
    const bytes = encodeModel(model, plan.placements);
    expect(bytes.length).toBeLessThan(2500);
    writeFileSync(join(folder, 'm.onnx'), bytes);
    writeFileSync(join(folder, 'whole.onnx'), encodeModel(model));
    for (const branchTaken of [true, false]) {
      const feeds = {
        x: new ort.Tensor('float32', Float32Array.from(values(20, 9)), [1, 20]),
        c: new ort.Tensor('bool', [branchTaken], []),
      };
      const run = async (name: string) =>
        (await (await ort.InferenceSession.create(join(folder, name), { logSeverityLevel: 3 })).run(feeds)).y?.data;
      expect(await run('m.onnx')).toEqual(await run('whole.onnx'));
    }
    expect(parseSource(memorySource('m', encodeModel(model))).model.functions.length).toBe(1);
  });

  it('internal nodes are never written', () => {
    const m = chain([{ name: 'a', tensor: matrix(4, 4, 1) }]);
    const [n] = m.graph.nodes;
    if (n !== undefined) n.domain = 'loraify';
    expect(() => encodeModel(m)).toThrow('not lowered');
  });
});
