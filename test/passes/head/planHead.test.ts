/** Decisions about a head on graphs of a few nodes: what it reads, what it replaces, what pools, and what is refused. */
import { describe, expect, it } from 'vitest';
import { parseText } from '../../../src/parser/index.ts';
import { type HeadRequest, type PlannedHead, planHead } from '../../../src/passes/head/planHead.ts';
import { coded } from '../../support/coded.ts';

const table = 'float[5, 4] t = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2}';
const weight = 'float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}';

/** `inside`: interface, initializers and nodes of the graph. */
function plan(inside: string, request: Partial<HeadRequest> = {}, opset = 17): PlannedHead {
  const model = parseText(`<ir_version: 8, opset_import: ["" : ${opset}]>\nmain ${inside}`);
  return planHead(model, { kind: 'classification', classes: 2, normalize: true, seed: 0, ...request });
}
const refused = (...parts: readonly string[]) => expect.toSatisfy(coded('BAD_OPTION', ...parts));

describe('the value that a head reads', () => {
  it('is the input of the layer before the scores, also where a predicted class is the first output', () => {
    const graph = `(float[N, 4] x) => (int64[N] label, float[N, 3] probabilities) <${weight}>
      { h = Tanh(x) s = MatMul(h, w) label = ArgMax <axis: int = 1, keepdims: int = 0> (s) probabilities = Softmax(s) }`;
    expect(plan(graph).plan).toMatchObject({ input: 'h', replaced: 'probabilities', rank: 2, width: 4 });
  });

  it('is the output itself where no layer ends in it', () => {
    const graph = `(float[N, 4] x) => (float[N, 3] y) <${weight}> { s = MatMul(x, w) y = Relu(s) }`;
    expect(plan(graph).plan).toMatchObject({ input: 'y', replaced: 'y', width: 3 });
    const scores = graph.replaceAll('y', 'scores');
    expect(() => plan(scores)).toThrow(refused('not known', '"scores"'));
  });

  it('has rows and positions apart where an exporter joined them before the layer', () => {
    const graph = `(int64[N, S] input_ids) => (float[M, 3] logits) <${table}, ${weight}, int64[2] flat = {-1, 4}>
      { h = Gather(t, input_ids) rows = Reshape(h, flat) logits = MatMul(rows, w) }`;
    expect(plan(graph).plan).toMatchObject({ input: 'h', rank: 3, dims: ['N'], replaced: 'logits', output: 'logits' });
    const heads = graph.replace('rows = Reshape(h, flat)', 'o = Reshape(h, split) rows = Reshape(o, flat)');
    const split = heads.replace('int64[2] flat', 'int64[4] split = {0, 0, 2, 2}, int64[2] flat');
    expect(() => plan(split)).toThrow(refused('rows of a batch'));
  });

  it('has its rows first', () => {
    const graph =
      '(float[time, batch, 4] x) => (float[time, batch, 4] last_hidden_state) { last_hidden_state = Tanh(x) }';
    expect(() => plan(graph)).toThrow(refused('positions before the rows'));
  });

  it('has a known width', () => {
    const graph = '(float[N, S, W] x) => (float[N, S, W] last_hidden_state) { last_hidden_state = Tanh(x) }';
    expect(() => plan(graph)).toThrow(refused('number of features'));
  });
});

describe('the output of a head', () => {
  it('has another name if a value that stays has its name', () => {
    const graph = `(float[N, 4] x) => (float[N, 4] last_hidden_state, float[N, 3] logits) <${weight}>
      { last_hidden_state = Tanh(x) logits = MatMul(last_hidden_state, w) }`;
    expect(plan(graph).plan).toMatchObject({ output: 'logits.1', replaced: 'last_hidden_state' });
  });
});

describe('padding', () => {
  const states = 'float[N, S, 4] x, int64[N, S] attention_mask';
  const graph = `(${states}) => (float[N, S, 4] last_hidden_state) { last_hidden_state = Tanh(x) }`;

  it('is told by the mask, with operators that the opset has', () => {
    expect(plan(graph, { pooling: 'last' }).plan).toMatchObject({ mask: 'attention_mask' });
    expect(plan(graph, { pooling: 'cls' }, 11).plan.mask).toBeUndefined();
    expect(() => plan(graph, { pooling: 'last' }, 11)).toThrow(refused('--pooling last', 'opset 12', '11'));
    expect(() => plan(graph, { pooling: 'max' }, 8)).toThrow(refused('--pooling max', 'opset 9'));
  });

  it('counts where no mask has the positions of the states, with a warning', () => {
    const audio = graph.replace('int64[N, S]', 'int64[N, samples]');
    const found = plan(audio, { pooling: 'mean' });
    expect(found.plan.mask).toBeUndefined();
    expect(found.warnings.join()).toMatch(/counts all positions.*"attention_mask" has other positions/);
    const text = `(int64[N, S] input_ids) => (float[N, S, 4] last_hidden_state) <${table}>
      { last_hidden_state = Gather(t, input_ids) }`;
    expect(plan(text, { pooling: 'mean' }).warnings.join()).toMatch(/no attention mask/);
    expect(plan(text, { pooling: 'cls' }).warnings).toEqual([]);
  });
});
