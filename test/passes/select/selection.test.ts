import { describe, expect, it } from 'vitest';
import { patternValue, type SelectionOptions, selector, unmatched } from '../../../src/passes/select/selection.ts';
import { coded } from '../../support/coded.ts';

const paths = [
  'model.layers.0.self_attn.q_proj',
  'model.layers.0.self_attn.k_proj',
  'model.layers.1.self_attn.q_proj',
  'model.layers.1.mlp.experts.0.w1',
  'model.layers.10.mlp.up_proj',
  'lm_head',
  'q_proj',
];

const chosen = (options: SelectionOptions): string[] => {
  const select = selector(options);
  return paths.filter((path) => select(path) === true);
};

describe('selector', () => {
  it('takes everything without targets', () => {
    expect(chosen({})).toEqual(paths);
  });

  it('takes exact names and suffixes behind a dot', () => {
    expect(chosen({ targets: ['q_proj'] })).toEqual([paths[0], paths[2], 'q_proj']);
    expect(chosen({ targets: ['self_attn.q_proj'] })).toEqual([paths[0], paths[2]]);
    expect(chosen({ targets: ['proj'] })).toEqual([]);
    expect(chosen({ targets: ['attn.q_proj'] })).toEqual([]);
    expect(chosen({ targets: [] })).toEqual([]);
  });

  it('takes /expressions/ of a list and an expression given as a string, in full match', () => {
    expect(chosen({ targets: [String.raw`/.*\.(q|k)_proj/`, 'lm_head'] })).toEqual([
      paths[0],
      paths[1],
      paths[2],
      'lm_head',
    ]);
    expect(chosen({ targets: String.raw`model\.layers\.1\..*` })).toEqual([paths[2], paths[3]]);
    expect(chosen({ targets: 'q_proj' })).toEqual(['q_proj']);
  });

  it('knows all-linear', () => {
    const outputLayers = new Set(['lm_head']);
    expect(chosen({ targets: 'all-linear', outputLayers })).toEqual(paths.filter((p) => p !== 'lm_head'));
    expect(chosen({ targets: ['all-linear', 'lm_head'], outputLayers })).toEqual(paths);
  });

  it('lets exclude win, in every form', () => {
    expect(chosen({ targets: ['q_proj'], exclude: ['model.layers.0.self_attn.q_proj'] })).toEqual([paths[2], 'q_proj']);
    expect(chosen({ exclude: ['q_proj', 'w1', '/.*k_proj/', '/.*up_proj/'] })).toEqual(['lm_head']);
    expect(chosen({ exclude: 'model.*' })).toEqual(['lm_head', 'q_proj']);
  });

  it('limits by the first index in a path, but never an exact path', () => {
    expect(chosen({ targets: ['q_proj', 'w1'], layers: [1] })).toEqual([paths[2], paths[3], 'q_proj']);
    expect(chosen({ layers: [0] })).toEqual([paths[0], paths[1]]);
    expect(chosen({ layers: [10, 0], layersPattern: ['layers'] })).toEqual([paths[0], paths[1], paths[4]]);
    expect(chosen({ layers: [0], layersPattern: ['h', 'experts'] })).toEqual([paths[3]]);
    expect(chosen({ targets: ['q_proj'], layers: [] })).toEqual([paths[0], paths[2], 'q_proj']);
    expect(selector({ layers: [0], layersPattern: ['h'] })('h.0.x')).toBe(true);
    expect(selector({ layers: [0] })('h.0.x')).toBe('has no layer index');
  });

  it('says why not', () => {
    const select = selector({ targets: ['q_proj'], exclude: ['lm_head'], layers: [1] });
    expect(select('lm_head')).toBe('excluded');
    expect(select('x')).toBe('not a target');
    expect(select('model.layers.0.q_proj')).toBe('layer 0 is not among the layers chosen');
  });

  it('refuses malformed expressions and indices', () => {
    expect(() => selector({ targets: ['/(/'] })).toThrow(expect.toSatisfy(coded('BAD_PATTERN', 'target')));
    expect(() => selector({ exclude: '(' })).toThrow(expect.toSatisfy(coded('BAD_PATTERN', 'exclude')));
    expect(() => selector({ layers: [-1] })).toThrow(expect.toSatisfy(coded('BAD_OPTION', '-1')));
    expect(() => selector({ layers: [0.5] })).toThrow(expect.toSatisfy(coded('BAD_OPTION', '0.5')));
  });
});

describe('unmatched', () => {
  it('lists the items that hit nothing', () => {
    expect(unmatched(['q_proj', 'v_proj', '/x.*/', 'lm_head'], paths)).toEqual(['v_proj', '/x.*/']);
    expect(unmatched('x.*', paths)).toEqual(['/x.*/']);
  });
});

describe('patternValue', () => {
  it('falls back to the default', () => {
    const rank = patternValue(new Map([['q_proj', 4]]), 8, 'rank_pattern');
    expect([rank('a.q_proj'), rank('a.k_proj')]).toEqual([4, 8]);
  });
});
