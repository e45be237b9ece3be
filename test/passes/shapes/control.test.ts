/** Bodies: what holds in every run of them, against ONNX Runtime. */
import { describe, expect, it } from 'vitest';
import type { Value } from '../../../src/graph/model.ts';
import { parseText } from '../../../src/parser/index.ts';
import { inferShapes } from '../../../src/passes/shapes/index.ts';
import { actual, agree, type Feeds, feed, symbolsOf } from '../../support/shapes/oracle.ts';

/** Infers, compares with a run, and says what the outputs are. */
async function outputs(text: string, feeds: Feeds): Promise<string[]> {
  const model = parseText(`<ir_version: 10, opset_import: ["" : 21]> ${text}`);
  const declared = new Map<Value, Value['shape']>(model.graph.inputs.map((v) => [v, v.shape]));
  for (const v of model.graph.outputs) v.type = undefined;
  inferShapes(model.graph);
  const seen = model.graph.outputs.map((v) => `${v.dtype}[${v.shape?.map((d) => d ?? '?').join(',') ?? '...'}]`);
  agree(await actual(model, feeds), symbolsOf(declared, feeds), text);
  return seen;
}

describe('control flow', () => {
  it('merges the branches of If', async () => {
    const text = `g (bool c, float[N, 4] x, float[1, 4] w) => (y, z) {
      y, z = If (c) <
        then_branch = t () => (a, b) { a = Relu (x) b = ReduceSum <keepdims = 0> (x) },
        else_branch = e () => (p, q) { p = Add (x, w) q = Identity (w) }
      >
    }`;
    const feeds = { c: feed('bool', [], [1]), x: feed('float32', [3, 4]), w: feed('float32', [1, 4]) };
    expect(await outputs(text, feeds)).toEqual(['float32[N,4]', 'float32[...]']);
  });

  it('takes the branch that a known condition takes', async () => {
    const text = `g (float[N, 4] x) => (y) {
      s = Shape <start = 1, end = 2> (x)
      four = Constant <value = int64[1] {4}> ()
      same = Equal (s, four)
      c = Squeeze (same)
      y = If (c) <
        then_branch = t () => (a) { a = Transpose (x) },
        else_branch = e () => (b) { b = ReduceSum <keepdims = 0> (x) }
      >
    }`;
    expect(await outputs(text, { x: feed('float32', [3, 4]) })).toEqual(['float32[4,N]']);
  });

  it('forgets lengths that a loop changes, keeps the others', async () => {
    const text = `g (float[N, 4] x, float[1, 4] row) => (grown, kept, all, steps) {
      n = Constant <value = int64 {3}> ()
      none = Constant <value = bool {1}> ()
      grown, kept, all, steps = Loop (n, none, row, x) <
        body = b (int64 i, bool go, float[M, 4] a, k) => (go_on, a2, k2, each, step) {
          go_on = Identity (go)
          a2 = Concat <axis = 0> (a, row)
          k2 = Neg (k)
          each = Relu (x)
          step = Identity (i)
        }
      >
    }`;
    const feeds = { x: feed('float32', [2, 4]), row: feed('float32', [1, 4]) };
    expect(await outputs(text, feeds)).toEqual(['float32[?,4]', 'float32[N,4]', 'float32[3,N,4]', 'int64[3]']);
  });

  it('does not count a loop whose condition is computed', async () => {
    const text = `g (float[N, 4] x, int64 n, bool c) => (kept, all) {
      kept, all = Loop (n, c, x) <
        body = b (int64 i, bool go, k) => (go_on, k2, each) {
          two = Constant <value = int64 {1}> ()
          go_on = Less (i, two)
          k2 = Neg (k)
          each = ReduceSum <keepdims = 0> (k)
        }
      >
    }`;
    const feeds = { x: feed('float32', [2, 4]), n: feed('int64', [], [5]), c: feed('bool', [], [1]) };
    expect(await outputs(text, feeds)).toEqual(['float32[N,4]', 'float32[?]']);
  });

  it('slices and stacks along the axes of Scan', async () => {
    const text = `g (float[N, S, 4] x, float[N, 4] state) => (last, ys) {
      last, ys = Scan (state, x) <
        num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [-1],
        body = b (s, e) => (s2, y) { s2 = Add (s, e) y = ReduceSum <keepdims = 0> (e) }
      >
    }`;
    const feeds = { x: feed('float32', [2, 3, 4]), state: feed('float32', [2, 4]) };
    expect(await outputs(text, feeds)).toEqual(['float32[N,4]', 'float32[S]']);
  });

  it('infers a body again without what an earlier pass believed', async () => {
    const text = `g (float[1, 4] row) => (last) {
      n = Constant <value = int64 {2}> ()
      last = Loop (n, , row) <
        body = b (int64 i, bool go, a) => (go_on, a2) {
          go_on = Identity (go)
          a2 = Concat <axis = 0> (a, a)
          total = Flatten <axis = 0> (a2)
        }
      >
    }`;
    expect(await outputs(text, { row: feed('float32', [1, 4]) })).toEqual(['float32[?,4]']);
    const model = parseText(`<ir_version: 10, opset_import: ["" : 21]> ${text}`);
    inferShapes(model.graph);
    const loop = model.graph.nodes.at(-1);
    expect(loop?.bodies[0]?.nodes[2]?.outputs[0]?.shape).toEqual([1, null]);
  });
});
