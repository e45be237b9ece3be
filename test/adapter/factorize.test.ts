/** Decompositions of weights: against numpy's figures, and by what defines them. */
import { describe, expect, it } from 'vitest';
import { approximateSingular, leadingQr, leadingSingular, type Singular } from '../../src/adapter/factorize.ts';
import { dot, type Weight } from '../../src/adapter/vectors.ts';
import { stream } from '../../src/graph/random.ts';

/** Numbers that float32 holds exactly, so that numpy's matrix is the same one. */
const exactWeight = (rows: number, columns: number): Weight => ({
  rows,
  columns,
  data: Float32Array.from({ length: rows * columns }, (_, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns];
    return (((7 * i * i + 13 * j * j + 5 * i * j + 3 * i) % 32) - 16) / 16;
  }),
});

const randomWeight = (rows: number, columns: number, rank = columns): Weight => {
  const random = stream(3, `${rows}x${columns}`);
  const [a, b] = [rows, columns].map((n) => Array.from({ length: n * rank }, () => random.normal() / rank));
  const data = Float32Array.from({ length: rows * columns }, (_, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns];
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += (a?.[i * rank + k] ?? 0) * (b?.[j * rank + k] ?? 0);
    return sum;
  });
  return { rows, columns, data };
};

/** Element [i, j] of Σ values·left·rightᵀ. */
const product = ({ values, left, right }: Singular, i: number, j: number): number =>
  values.reduce((sum, v, k) => sum + v * (left[k]?.[i] ?? 0) * (right[k]?.[j] ?? 0), 0);

const norm2 = (w: Weight, minus?: Singular): number => {
  let sum = 0;
  for (let i = 0; i < w.rows; i++)
    for (let j = 0; j < w.columns; j++)
      sum += ((w.data[i * w.columns + j] ?? 0) - (minus === undefined ? 0 : product(minus, i, j))) ** 2;
  return sum;
};

const expectOrthonormal = (vectors: readonly Float64Array[]): void => {
  vectors.forEach((v, i) => {
    vectors.forEach((u, j) => {
      expect(dot(v, u)).toBeCloseTo(i === j ? 1 : 0, 11);
    });
  });
};

// numpy.linalg.svd and numpy.linalg.qr in float64: the largest singular values, row 1 of the best matrix of rank 2, of Q and of R.
const figures = [
  {
    rows: 7,
    columns: 5,
    values: [2.008363346685492, 1.7721316174728232, 1.5049987826034184, 1.3783646149010171],
    best: [-0.2417340418799735, 0.3100879546621729, 0.19472428234098083],
    q: [-0.20044593143431827, -0.41376038058731446, -0.40793584868378746],
    r: [-1.7276756875206642, -0.18427033343096239, 0.017805262279372125],
  },
  {
    rows: 5,
    columns: 7,
    values: [1.9432763845292425, 1.6964169798135758, 1.2142555603876626, 1.2053970969146595],
    best: [-0.5503067758383328, 0.7605136184365523, -0.4263378099422775],
    q: [-0.22742941307367104, -0.5583617770977839, -0.18789105130692016],
    r: [-1.4416404015612887, 0.5156624243311027, -0.15570781484830276],
  },
  {
    rows: 40,
    columns: 24,
    values: [6.445603848481725, 5.8297177720053615, 5.375364988203994, 5.186016687900771],
    best: [-0.23660561108984376, 0.5767581022121444, 0.022062062787404874],
    q: [-0.09912279006826348, -0.19898071155978472, -0.11256681331948377],
    r: [-3.7260035538931593, 0.237610364701269, -0.0329116587383419],
  },
];

describe.each(figures)('a weight [$rows, $columns]', ({ rows, columns, values, best, q, r }) => {
  const weight = exactWeight(rows, columns);

  it('has the singular values and the best approximation that numpy finds', () => {
    const found = leadingSingular(weight, 4, stream(0, 'test'));
    // Ten units of float64 in sums of 40 terms.
    found.values.forEach((v, k) => {
      expect(v).toBeCloseTo(values[k] ?? 0, 11);
    });
    const two = leadingSingular(weight, 2, stream(0, 'test'));
    best.forEach((x, j) => {
      expect(product(two, 1, j)).toBeCloseTo(x, 11);
    });
    expectOrthonormal(found.left);
    expectOrthonormal(found.right);
  });

  it("has numpy's QR, signs included", () => {
    const found = leadingQr(weight, 3);
    q.forEach((x, k) => {
      expect(found.q[k]?.[1]).toBeCloseTo(x, 12);
    });
    r.forEach((x, j) => {
      expect(found.r[1]?.[j + 1]).toBeCloseTo(x, 12);
    });
    expectOrthonormal(found.q);
  });
});

describe('the leading singular vectors', () => {
  it('leave of a larger weight what its Frobenius norm says, whatever the search starts from', () => {
    const weight = randomWeight(200, 120);
    const found = leadingSingular(weight, 8, stream(0, 'a'));
    const taken = found.values.reduce((sum, v) => sum + v * v, 0);
    // The norm counts 24000 squares of float32 numbers.
    expect(norm2(weight, found) / norm2(weight)).toBeCloseTo(1 - taken / norm2(weight), 10);
    const again = leadingSingular(weight, 8, stream(1, 'b'));
    // Gaps between neighbours are a hundredth of the values here.
    again.left.forEach((v, k) => {
      expect(dot(v, found.left[k] ?? v)).toBeCloseTo(1, 8);
    });
  });

  it.each([
    ['rank 3, asked for 6', randomWeight(30, 20, 3), 6, 3],
    ['zeros', { rows: 6, columns: 9, data: new Float32Array(54) }, 2, 0],
  ] as const)('of a weight of %s are exact and then zero', (_, weight, asked, rank) => {
    const found = leadingSingular(weight, asked, stream(0, 'test'));
    // Float32 rounding of the weight itself.
    expect(norm2(weight, found)).toBeLessThanOrEqual(1e-12 * Math.max(norm2(weight), 1));
    found.values.slice(rank).forEach((v) => {
      expect(v).toBeLessThan(1e-6);
    });
  });

  it('of equal singular values are as many as were asked for', () => {
    const data = Float32Array.from({ length: 32 * 32 }, (_, at) => (at % 33 === 0 ? 0.5 : 0));
    const { values, left, right } = leadingSingular({ rows: 32, columns: 32, data }, 5, stream(0, 'test'));
    expect(values).toHaveLength(5);
    for (const v of values) expect(v).toBeCloseTo(0.5, 14);
    expectOrthonormal(left);
    expectOrthonormal(right);
  });

  it('are at most as many as the smaller side', () => {
    expect(leadingSingular(exactWeight(3, 40), 8, stream(0, 'test')).values).toHaveLength(3);
    expect(leadingQr(exactWeight(3, 40), 8).q).toHaveLength(3);
  });
});

describe('the approximation', () => {
  it('comes near with every round and is exact where the weight has no more', () => {
    const weight = randomWeight(120, 200);
    const exact = leadingSingular(weight, 8, stream(0, 'test'));
    const errors = [0, 2, 8, 300].map((rounds) => {
      const found = approximateSingular(weight, 8, rounds, stream(0, 'test'));
      return norm2(weight, found) / norm2(weight, exact) - 1;
    });
    expect(errors).toEqual(errors.toSorted((a, b) => b - a));
    expect(errors[0]).toBeGreaterThan(0.01);
    expect(errors[3]).toBeLessThan(1e-6);
    const low = randomWeight(30, 20, 3);
    expect(norm2(low, approximateSingular(low, 4, 1, stream(0, 'test')))).toBeLessThan(1e-12 * norm2(low));
  });
});
