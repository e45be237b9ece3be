import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { isOpName } from '../../../src/graph/operators.ts';
import { upgrades } from '../../../src/passes/normalize/upgrades/index.ts';

/** Version -> whether the form changed, per operator; written by scripts/operator-changes.py out of the onnx package. */
const changes = new Map<string, Map<number, string>>(
  Object.entries(JSON.parse(readFileSync(join(import.meta.dirname, 'operatorChanges.json'), 'utf8'))).map(
    ([op, list]) => [
      op,
      new Map(Object.entries(Object(list)).map(([version, what]) => [Number(version), String(what)])),
    ],
  ),
);

/** Changes that need no rule: reason -> operators with the versions that brought the change. */
const unchanged: Readonly<Record<string, string>> = {
  'negative axes, indices or lengths that were refused are allowed': `
    ArgMax 11, ArgMin 11, Compress 11, Concat 11, Flatten 11, Gather 11, Scan 11
  `,
  'branches and bodies may differ in shape, or hold sequences and optionals': `
    Identity 14 16, If 11 16, Loop 11 13 16, OptionalGetElement 18, Scan 16
  `,
  'ONNX Runtime has one kernel for old and new': `
    AveragePool 11 22, BatchNormalization 15, Clip 13, ConvTranspose 11, MaxPool 12 22, OneHot 11
  `,
  'a new attribute or input whose default is the old meaning': `
    ArgMax 12, ArgMin 12, Attention 24 25, AveragePool 10 19, Cast 19 24, Constant 11 12, DepthToSpace
    11, DequantizeLinear 13 21 23, GatherND 12, Gemm 11, LpPool 18, MaxPool 8 10, OptionalHasElement
    18, Pad 18, QuantizeLinear 13 19 21 23, Reshape 14, ScatterElements 16, ScatterND 16, Shape 15,
    TopK 11
  `,
  'more element types, or other words': `
    Abs 13, Acos 22, Acosh 22, Add 13 14, ArgMax 13, ArgMin 13, Asin 22, Asinh 22, Atan 22, Atanh 22, Bernoulli 22,
    Cast 9 13 21 23 25, Ceil 13, Clip 12, Concat 13, Constant 9 13 19 21 23 24 25, ConstantOfShape
    20 21 23 24 25, Conv 11 22, ConvTranspose 22, Cos 22, Cosh 22, CumSum 14, DeformConv 22, DepthToSpace 13,
    DequantizeLinear 19 24 25, Det 22, Div 13 14, Dropout 13 22, Elu 22, Equal 11 13 19, Erf 13, Exp 13, Expand 13,
    EyeLike 22, Flatten 9 13 21 23 24 25, Floor 13, Gather 13, GatherElements 13, GatherND 13, Gemm 9 13,
    GlobalAveragePool 22, GlobalLpPool 22, GlobalMaxPool 22, Greater 9 13, GreaterOrEqual 16, GridSample 22,
    HardSigmoid 22, HardSwish 22, Identity 13 19 21 23 24 25, If 13 19 21 23 24 25, InstanceNormalization 22, IsInf
    20, IsNaN 13 20, LRN 13, LeakyRelu 16, Less 9 13, LessOrEqual 16, Log 13, Loop 19 21 23 24 25,
    LpNormalization 22, LpPool 11 22, MatMul 9 13, Max 8 12 13, MaxPool 11, MaxRoiPool 22, MaxUnpool 11 22, Mean 8 13,
    MeanVarianceNormalization 13, Min 8 12 13, Mish 22, Mod 13, Mul 13 14, Multinomial 22, Neg 13,
    NegativeLogLikelihoodLoss 13 22, NonMaxSuppression 11, NonZero 13, PRelu 9 16, Pad 13 19 21 23 24 25, Pow 12 13
    15, QLinearMatMul 21, QuantizeLinear 24 25, RandomNormal 22, RandomNormalLike 22, RandomUniform 22,
    RandomUniformLike 22, Reciprocal 13, ReduceMax 20, ReduceMin 20, Relu 13 14, Reshape 13 19 21 23 24 25, RoiAlign
    22, Round 22, Scan 19 21 23 24 25, ScatterElements 13 18, ScatterND 13 18, Selu 22, Shape 13 19 21 23 24 25,
    Sigmoid 13, Sign 13, Sin 22, Sinh 22, Size 13 19 21 23 24 25, Slice 11 13, SoftmaxCrossEntropyLoss 13, Softplus
    22, Softsign 22, SpaceToDepth 13, SplitToSequence 24, Sqrt 13, Squeeze 21 23 24 25, Sub 13 14, Sum 8 13, Tan 22,
    Tanh 13, ThresholdedRelu 22, Tile 13, TopK 24, Transpose 13 21 23 24 25, Unsqueeze 21 23 24 25, Where 16
  `,
};

const listed = (text: string): string[] =>
  text.split(',').flatMap((entry) => {
    const [op, ...versions] = entry.trim().split(/\s+/);
    return versions.map((v) => `${op} ${v}`);
  });

const ruled = (op: string, version: number): boolean =>
  upgrades.some((r) => r.ops.includes(op) && r.until >= version - 1);

it('every change of an operator has an upgrade rule or a reason why it needs none', () => {
  const reasons = new Set(Object.values(unchanged).flatMap(listed));
  const open = [...changes].flatMap(([op, list]) =>
    [...list.keys()].filter((v) => !ruled(op, v) && !reasons.has(`${op} ${v}`)).map((v) => `${op} ${v}`),
  );
  expect(open).toEqual([]);
});

it('no reason is given twice, for a change that a rule covers, or for one that does not exist', () => {
  const reasons = Object.values(unchanged).flatMap(listed);
  expect(new Set(reasons).size).toBe(reasons.length);
  const idle = reasons.filter((entry) => {
    const [op = '', version = ''] = entry.split(' ');
    return ruled(op, Number(version)) || changes.get(op)?.has(Number(version)) !== true;
  });
  expect(idle).toEqual([]);
});

it('a change of form that needs no rule only adds optional parts', () => {
  const additions = new Set(listed(unchanged['a new attribute or input whose default is the old meaning'] ?? ''));
  const others = new Set(
    Object.values(unchanged)
      .flatMap(listed)
      .filter((e) => !additions.has(e)),
  );
  const wrong = [...others].filter((entry) => {
    const [op = '', version = ''] = entry.split(' ');
    return changes.get(op)?.get(Number(version)) === 'form';
  });
  expect(wrong).toEqual([]);
});

it('every operator that changed is in the operator table', () => {
  expect([...changes.keys()].filter((op) => !isOpName(op))).toEqual([]);
});
