/** The page of operators and the tables it is made from. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { isOpName, operators } from '../../src/graph/operators.ts';
import { type OperatorState, operatorStates } from '../../src/passes/index.ts';
import { figures } from '../support/gradients/figures.ts';

const root = join(import.meta.dirname, '../..');
const script: {
  readonly operatorsFile: URL;
  operatorsPage(states: readonly OperatorState[], recorded: typeof figures): string;
} = await import(pathToFileURL(join(root, 'scripts/operators-doc.mjs')).href);

describe('tables of operators', () => {
  const states = operatorStates();

  it('are what the page shows (npm run docs writes it)', () => {
    expect(readFileSync(script.operatorsFile, 'utf8')).toBe(script.operatorsPage(states, figures));
  });

  it('name the whole standard operator set', () => {
    const standard = new Set(states.filter((s) => s.domain === '').map((s) => s.op));
    expect(Object.keys(operators).filter((op) => !standard.has(op))).toEqual([]);
  });

  it('say why nothing passes an operator of the standard', () => {
    const silent = states.filter(
      (s) => s.domain === '' && isOpName(s.op) && s.note === '' && ['stopped', 'missing'].includes(s.gradient),
    );
    expect(silent.map((s) => s.op)).toEqual([]);
  });

  it('mark the operators that can be layers', () => {
    expect(states.filter((s) => s.layer).map((s) => s.op)).toEqual(expect.arrayContaining(['Gemm', 'MatMul']));
  });
});
