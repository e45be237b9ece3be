/**
 * Replacements, for `--for`, of operators that an execution provider of ONNX Runtime 1.30 lacks or computes wrongly
 * (docs/OperatorKernels.md and the kernels themselves). An operator without a replacement runs on the CPU, between
 * copies, which is slow and correct; one that would be computed wrongly is refused.
 */
import { providerGap } from '../../errors.ts';
import type { Model, Node, Value } from '../../graph/model.ts';
import { attrsOf } from '../../graph/operators.ts';
import { dataTypeNumber, isFloat } from '../../graph/tensor.ts';
import { writtenOut } from '../autodiff/index.ts';
import type { Target } from '../common/target.ts';
import { type Upgrade, type UpgradeSite, upgrade, upgradeModel } from '../normalize/upgrade.ts';
import { inferNode } from '../shapes/index.ts';

interface Provider {
  readonly title: string;
  /** Operators of ai.onnx without a kernel, and those without one from opset 22 on. */
  readonly lacks: ReadonlySet<string>;
  readonly lacksFrom22: ReadonlySet<string>;
  readonly forms: readonly Upgrade[];
  /** The reason why a node would be computed wrongly, if no replacement helps. */
  readonly wrong: (node: Node) => string | undefined;
}

const set = (text: string): ReadonlySet<string> => new Set(text.split(' '));
type Rewrite = Upgrade['rewrite'];
const form = (ops: string, rewrite: Rewrite): Upgrade => upgrade(ops.split(' '), { until: 26, always: true }, rewrite);
/** Unchanged if the opset has a kernel. */
const since22 =
  (rewrite: Rewrite): Rewrite =>
  (site) =>
    site.from < 22 ? undefined : rewrite(site);

const present = ({ inputs }: UpgradeSite): Value[] => inputs.filter((v) => v !== undefined);
/** Some bodies depend on the size of the result, which then has to be known. */
const outOfBody: Rewrite = ({ node, g }) =>
  node.op === 'LpPool' && !node.outputs[0]?.shape?.every((d) => typeof d === 'number')
    ? undefined
    : writtenOut(node, g);
const elu = ({ x, attrs, g }: UpgradeSite, scale = 1, alpha = attrs.float('alpha') ?? 1): Value => {
  const below = g.Mul(g.Sub(g.Exp(g.Min([x, g.like(x, 0)])), g.like(x, 1)), g.like(x, alpha * scale));
  return g.Add(g.Mul(g.Max([x, g.like(x, 0)]), g.like(x, scale)), below);
};
const selu: Rewrite = (site) =>
  elu(site, site.attrs.float('gamma') ?? 1.05070102, site.attrs.float('alpha') ?? 1.67326319);
const mean =
  (sum: (site: UpgradeSite) => Value): Rewrite =>
  (site) =>
    site.g.Mul(sum(site), site.g.like(site.x, 1 / present(site).length));
const added = (site: UpgradeSite): Value => present(site).reduce((a, b) => site.g.Add(a, b));

const reduces = (node: Node, op: 'ScatterElements' | 'ScatterND'): boolean => attrsOf(node, op).reduction !== 'none';

const cuda: Provider = {
  title: 'CUDA',
  lacks: set(
    'Acos Acosh Asin Asinh Atan Atanh Cosh Sinh Tan BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Celu Col2Im ' +
      'ConvInteger CumProd DFT STFT BlackmanWindow HammingWindow HannWindow Det DynamicQuantizeLinear GlobalLpPool LpPool ' +
      'Hardmax MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Multinomial QLinearConv QLinearMatMul Optional Unique',
  ),
  lacksFrom22: set('Dropout Elu Selu ThresholdedRelu EyeLike InstanceNormalization MaxPool'),
  forms: [
    form(
      'Mean',
      mean((site) => site.g.Sum(present(site))),
    ),
    form('Cosh', ({ x, g }) => g.Mul(g.Add(g.Exp(x), g.Exp(g.Neg(x))), g.like(x, 0.5))),
    form('Tan', ({ x, g }) => g.Div(g.Sin(x), g.Cos(x))),
    // alpha·elu(x / alpha)
    form('Celu', ({ x, attrs, g }) => {
      const alpha = attrs.float('alpha') ?? 1;
      const below = g.Sub(g.Exp(g.Mul(g.Min([x, g.like(x, 0)]), g.like(x, 1 / alpha))), g.like(x, 1));
      return g.Add(g.Max([x, g.like(x, 0)]), g.Mul(below, g.like(x, alpha)));
    }),
    form('MeanVarianceNormalization LpPool GlobalLpPool', outOfBody),
    form(
      'Elu',
      since22((site) => elu(site)),
    ),
    form('Selu', since22(selu)),
    form(
      'ThresholdedRelu',
      since22(({ x, attrs, g }) => g.Where(g.Greater(x, g.like(x, attrs.float('alpha') ?? 1)), x, g.like(x, 0))),
    ),
    form('InstanceNormalization', since22(outOfBody)),
    // The kernel adds by element size, so it adds integers as floats. As float64 they are exact up to 2^53.
    form('ScatterElements', ({ node, inputs: [data, indices, updates], g, again }) => {
      if (data?.dtype === undefined || isFloat(data.dtype) || !reduces(node, 'ScatterElements')) return undefined;
      const wide = (v: Value | undefined): Value | undefined => v && g.Cast(v, { to: dataTypeNumber('float64') });
      const [y] = again({ inputs: [wide(data), indices, wide(updates)] });
      return y && g.Cast(y, { to: dataTypeNumber(data.dtype) });
    }),
  ],
  wrong: (node) => {
    // Its gradient would read the integers in their order, in which they are stored only without prepacking.
    if (node.domain === 'com.microsoft' && node.op === 'QMoE')
      return attrsOf(node, 'com.microsoft.QMoE').weights_prepacked === 0
        ? undefined
        : 'its QMoE reads weights in a layout of its own unless the attribute weights_prepacked is 0';
    const type = node.inputs[0]?.dtype;
    if (
      node.domain !== '' ||
      node.op !== 'ScatterND' ||
      !reduces(node, 'ScatterND') ||
      type === 'float32' ||
      type === 'float16'
    )
      return undefined;
    return `its ScatterND reduces float32 and float16 only, not ${type ?? 'this type'}`;
  },
};

const webgpu: Provider = {
  title: 'WebGPU',
  lacks: set(
    'Loop Scan LogSoftmax ConstantOfShape Sum Sign Size OneHot NonZero Mod Or Xor Round IsNaN IsInf Dropout RandomNormal ' +
      'RandomNormalLike RandomUniform RandomUniformLike EyeLike Selu QuantizeLinear TensorScatter Mean Compress RNN SpaceToDepth ' +
      'ReverseSequence Attention',
  ),
  lacksFrom22: new Set(),
  forms: [
    form('Sum', added),
    form('Mean', mean(added)),
    form('LogSoftmax', ({ node, x, g }) => {
      const axes = g.ints([attrsOf(node, 'LogSoftmax').axis]);
      const shifted = g.Sub(x, g.ReduceMax(x, axes));
      return g.Sub(shifted, g.Log(g.ReduceSum(g.Exp(shifted), axes)));
    }),
    form('Sign', ({ x, g }) => {
      const [zero, to] = [g.like(x, 0), dataTypeNumber(x.dtype ?? 'float32')];
      return g.Sub(g.Cast(g.Greater(x, zero), { to }), g.Cast(g.Less(x, zero), { to }));
    }),
    form('Or', ({ inputs: [a, b], g }) => (a && b ? g.Not(g.And(g.Not(a), g.Not(b))) : undefined)),
    form('Xor', ({ inputs: [a, b], g }) => (a && b ? g.Not(g.Equal(a, b)) : undefined)),
    form('Selu', selu),
    form('Attention', ({ node, g }) => (node.outputs.length > 1 ? undefined : writtenOut(node, g))),
  ],
  wrong: () => undefined,
};

const providers: Readonly<Partial<Record<Target, Provider>>> = { cuda, webgpu };

/** Operators of ai.onnx for which a provider has no kernel in any opset. */
export const lacks = (target: Target): ReadonlySet<string> => providers[target]?.lacks ?? new Set();

/** In place: replaces operators by forms that the provider has kernels for. */
export function replaceMissing(model: Model, target: Target): void {
  const provider = providers[target];
  if (provider === undefined) return;
  const rewritten = new Set(provider.forms.flatMap((f) => f.ops));
  if (![...model.graph.allNodes()].some((n) => n.domain === '' && rewritten.has(n.op))) return;
  const opset = model.opsets.get('') ?? 0;
  upgradeModel(model, { rules: provider.forms, from: opset, to: opset, versions: new Map(), infer: inferNode });
  model.graph.adopt();
}

/**
 * The operators of the model that the provider runs on the CPU, as a sentence. Throws PROVIDER_GAP if it would compute
 * something wrongly.
 */
export function providerGaps(model: Model, target: Target): string[] {
  const provider = providers[target];
  if (provider === undefined) return [];
  const { lacksFrom22, forms, wrong, title } = provider;
  const rewritten = new Set(forms.flatMap((f) => f.ops));
  const newer = (model.opsets.get('') ?? 0) >= 22;
  const found = new Set<string>();
  for (const node of model.graph.allNodes()) {
    const reason = wrong(node);
    if (reason !== undefined) throw providerGap(title, reason, { node: node.label });
    if (node.domain !== '') continue;
    const lacking = provider.lacks.has(node.op) || (newer && lacksFrom22.has(node.op));
    if (lacking && !rewritten.has(node.op)) found.add(node.op);
  }
  if (found.size === 0) return [];
  const list = [...found].sort().join(', ');
  return [
    `${list} will run on the CPU, between copies, because ONNX Runtime's ${title} provider has no kernel for ${found.size === 1 ? 'it' : 'them'}`,
  ];
}
