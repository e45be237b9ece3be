import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { float32FromText, float32Text, float64FromText, float64Text } from '../../src/formats/floatText.ts';

describe('float32', () => {
  test.each([
    [0, '0'],
    [-0, '-0.0'],
    [1, '1'],
    [-3, '-3'],
    [0.1, '0.1'],
    [1e-5, '0.00001'],
    [1e-7, '1e-7'],
    [3.4028234663852886e38, '3.4028235e+38'],
    [2 ** -149, '1e-45'],
    [16777216, '16777216'],
    [1.2345679e20, '1.2345679e+20'],
    [Infinity, 'inf'],
    [-Infinity, '-inf'],
    [NaN, 'nan'],
  ])('%f is written %s', (x, text) => {
    expect(float32Text(Math.fround(x))).toBe(text);
    expect(float32FromText(text)).toBe(Math.fround(x));
  });

  test('every value reads back as itself, in at most nine digits', () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true }), (x) => {
        const text = float32Text(x);
        expect(text.replace(/e.*|^-|\.|^-?0\.0*/g, '').length).toBeLessThanOrEqual(16);
        expect(float32FromText(text)).toBe(x);
      }),
      { numRuns: 5000 },
    );
  });

  test('no shorter decimal reads back as the value', () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (x) => {
        const digits = /^-?(\d)(?:\.(\d+))?e/.exec(Number(float32Text(x)).toExponential());
        const length = 1 + (digits?.[2]?.length ?? 0);
        if (length > 1) expect(Math.fround(Number(x.toExponential(length - 2)))).not.toBe(x);
      }),
      { numRuns: 2000 },
    );
  });

  test('a literal is rounded once, not through a double', () => {
    const tie = '1.000000059604644775390625';
    expect(float32FromText(tie)).toBe(1);
    expect(float32FromText(`${tie}00000000000000000001`)).toBe(1 + 2 ** -23);
    const oddTie = '1.000000178813934326171875';
    expect(float32FromText(oddTie)).toBe(1 + 2 ** -22);
    expect(float32FromText('1.00000017881393432617187499999999999')).toBe(1 + 2 ** -23);
    expect(float32FromText('-1.00000017881393432617187499999999999')).toBe(-1 - 2 ** -23);
    const overflowTie = '340282356779733661637539395458142568448';
    expect(float32FromText(overflowTie)).toBeUndefined();
    expect(float32FromText('340282356779733661637539395458142568447.9')).toBe(2 ** 128 - 2 ** 104);
    expect(float32FromText('-340282356779733661637539395458142568447.9')).toBe(2 ** 104 - 2 ** 128);
  });

  test('what does not fit is no float', () => {
    expect(float32FromText('1e39')).toBeUndefined();
    expect(float32FromText('1e400')).toBeUndefined();
    expect(float32FromText('1e-60')).toBe(0);
  });
});

describe('float64', () => {
  test('every value reads back as itself', () => {
    fc.assert(fc.property(fc.double({ noNaN: true }), (x) => float64FromText(float64Text(x)) === x));
    expect(float64FromText(float64Text(-0))).toBe(-0);
  });
});
