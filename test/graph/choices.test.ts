/** Options that belong to some values of a choice only: given with another one they are refused, by the tables. */
import { describe, expect, it } from 'vitest';
import { resolveOptions } from '../../src/compile/options.ts';
import { keysOf } from '../../src/graph/choices/choice.ts';
import { optimizerOptions, optimizers } from '../../src/graph/choices/compile.ts';
import {
  losses,
  lossesWith,
  lossKinds,
  lossOptions,
  lossParamNames,
  takersOf,
} from '../../src/graph/choices/losses.ts';
import { coded } from '../support/coded.ts';

const values = { classAxis: -1, ignoreIndex: 0, labelSmoothing: 0.1, classWeights: [1, 2], labels: ['a', 'b'] };
const given: Readonly<Record<string, unknown>> = {
  ...values,
  ...Object.fromEntries(lossParamNames.map((name) => [name, lossesWith(name)[0]?.param.default])),
};

describe('--loss', () => {
  it('has an example for each option that only some losses take', () => {
    expect(Object.keys(values)).toEqual(keysOf(lossOptions));
  });

  for (const loss of lossKinds)
    it.each(Object.keys(given))(`${loss}: %s`, (name) => {
      const options = { loss, [name]: given[name] };
      if (takersOf(name).includes(loss)) expect(resolveOptions(options)).toMatchObject(options);
      else expect(() => resolveOptions(options)).toThrow(expect.toSatisfy(coded('BAD_OPTION', `--loss ${loss}`)));
    });

  it('auto: what the loss must take is known when it is chosen', () => {
    expect(resolveOptions({ labelSmoothing: 0 }).lossGiven).toEqual(['labelSmoothing']);
    expect(resolveOptions({}).lossGiven).toEqual([]);
  });

  it('every loss names labels and metrics that go together', () => {
    for (const kind of lossKinds) {
      const { over, labels, metrics, shift } = losses[kind];
      expect([kind, labels]).toEqual([
        kind,
        { classes: 'int64', elements: 'float32', caller: 'output', model: undefined }[over],
      ]);
      if (shift === true) expect([kind, over]).toEqual([kind, 'classes']);
      if (metrics !== undefined) expect(['classes', 'elements']).toContain(over);
    }
  });
});

const optimizerValues = { betas: [0.8, 0.99], eps: 1e-6, momentum: 0.5 } as const;

describe('--optimizer', () => {
  for (const optimizer of keysOf(optimizers))
    it.each(keysOf(optimizerOptions))(`${optimizer}: %s`, (name) => {
      const options = { optimizer, [name]: optimizerValues[name] };
      if (optimizers[optimizer].takes.includes(name)) expect(resolveOptions(options)).toMatchObject(options);
      else
        expect(() => resolveOptions(options)).toThrow(
          expect.toSatisfy(coded('BAD_OPTION', `--optimizer ${optimizer}`)),
        );
    });
});
