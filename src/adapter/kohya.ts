/**
 * LoRA files with kohya-ss's keys (github.com/kohya-ss/sd-scripts, networks/lora.py):
 * `lora_unet_down_blocks_0_…_to_q.lora_down.weight`, `.lora_up.weight` and the scalar `.alpha`. A module's dots are
 * underscores, and the prefix tells which of several models it belongs to, so the layers are matched against the paths
 * of a model.
 */
import { adapterMismatch, adapterUnsupported, badAdapter, didYouMean } from '../errors.ts';
import { only } from '../formats/peftPattern.ts';
import { type RawTensor, toFloat32 } from '../formats/rawTensor.ts';
import { layerOp, sizeOf, transposed } from '../graph/layers.ts';
import type { KnownLayer } from './known.ts';
import type { PeftLayer, TensorSource } from './peftTensors.ts';

const key = /^(lora_[a-z]+\d*|lycoris)_(.+?)\.(.+)$/;

export const isKohya = (keys: Iterable<string>): boolean =>
  [...keys].some((k) => key.test(k) && /\.lora_(down|up)\.weight$/.test(k));

/** Key patterns of other methods that share the naming. */
const otherMethods: readonly (readonly [RegExp, string, string])[] = [
  [/^dora_scale$/, 'dora_scale', 'weight-decomposed adapters (DoRA) have a magnitude that plain LoRA layers lack'],
  [/^lora_mid/, 'lora_mid', 'LoCon with a Tucker decomposition has a third factor'],
  [/^hada_/, 'hada', 'LoHa is a Hadamard product of two low-rank matrices'],
  [/^lokr_/, 'lokr', 'LoKr is a Kronecker product'],
  [/^oft_/, 'oft', 'OFT rotates the weight'],
  [/^(diff|diff_b|bias.*|.*\.bias|w_norm|b_norm)$/, 'full differences', 'it stores changes of full weights or biases'],
];

interface Module {
  /** The key without its last two parts, as in the file. */
  readonly stem: string;
  /** The module path with underscores instead of dots. */
  readonly name: string;
  down?: RawTensor;
  up?: RawTensor;
  alpha?: number;
}

/** The modules grouped by the prefix before the module's name. Errors: BAD_ADAPTER, ADAPTER_UNSUPPORTED by feature. */
function kohyaModules(source: TensorSource, file: string): Map<string, Module[]> {
  const byStem = new Map<string, Module>();
  const groups = new Map<string, Module[]>();
  for (const name of source.tensors.keys()) {
    const [, group = '', module = '', part = ''] = key.exec(name) ?? [];
    const other = otherMethods.find(([form]) => form.test(part));
    if (other !== undefined) throw adapterUnsupported(other[1], `${other[2]} (key "${name}")`, file);
    if (!['lora_down.weight', 'lora_up.weight', 'alpha'].includes(part)) {
      const stem = name.slice(0, Math.max(0, name.indexOf('.')));
      const near = didYouMean(name, [`${stem}.lora_down.weight`, `${stem}.lora_up.weight`, `${stem}.alpha`]);
      throw badAdapter(`the key "${name}" is not one that kohya's LoRA has${near}`, file);
    }
    const stem = `${group}_${module}`;
    let found = byStem.get(stem);
    if (found === undefined) {
      found = { stem, name: module };
      byStem.set(stem, found);
      groups.set(group, [...(groups.get(group) ?? []), found]);
    }
    const tensor = source.read(name);
    if (tensor === undefined) continue;
    if (!/^(F|BF)/.test(tensor.dtype) && part !== 'alpha')
      throw badAdapter(`the tensor "${name}" has the type ${tensor.dtype}`, file);
    if (part === 'alpha') found.alpha = scalar(name, tensor, file);
    else found[part === 'lora_up.weight' ? 'up' : 'down'] = tensor;
  }
  return groups;
}

function scalar(name: string, tensor: RawTensor, file: string): number {
  const [value, ...more] = toFloat32(tensor);
  if (value === undefined || more.length > 0 || !Number.isFinite(value))
    throw badAdapter(`the tensor "${name}" [${tensor.shape.join(', ')}] is not one finite number`, file);
  return value;
}

export interface KohyaLayers {
  /** The layers by the path of the model's layer. */
  readonly layers: ReadonlyMap<string, PeftLayer>;
  readonly warnings: readonly string[];
}

/**
 * The layers of a file for a model with these layers. A file for several models (a UNet and its text encoders) yields
 * those of the one model whose layers match, name by name and shape by shape; a warning names the others. Errors:
 * BAD_ADAPTER, ADAPTER_UNSUPPORTED, ADAPTER_MISMATCH, which names tensors and the nearest layers.
 */
export function kohyaLayers(source: TensorSource, known: readonly KnownLayer[], file: string): KohyaLayers {
  const groups = [...kohyaModules(source, file)].map(([group, modules]) => ({
    group,
    ...fitted(modules, known, file),
  }));
  const whole = groups.filter((g) => g.problems.length === 0);
  if (whole.length > 1)
    throw adapterMismatch(
      `the layers of ${whole.map((g) => `"${g.group}"`).join(' and ')} in the file both fit the model`,
      file,
      'keep the tensors of one of them in the file',
    );
  const [best] = whole.length > 0 ? whole : groups.toSorted((a, b) => b.layers.size - a.layers.size);
  if (best === undefined) throw badAdapter('it has no tensors', file);
  if (best.problems.length > 0) {
    const more = best.problems.length > 5 ? ` and ${best.problems.length - 5} more` : '';
    throw adapterMismatch(`${best.problems.slice(0, 5).join('; ')}${more}`, file);
  }
  const left = groups.filter((g) => g !== best).map((g) => `"${g.group}"`);
  const warnings =
    left.length === 0 ? [] : [`of the file only "${best.group}" is for this model; left out: ${left.join(', ')}`];
  return { layers: best.layers, warnings };
}

function fitted(
  modules: readonly Module[],
  known: readonly KnownLayer[],
  file: string,
): { layers: Map<string, PeftLayer>; problems: string[] } {
  const layers = new Map<string, PeftLayer>();
  const problems: string[] = [];
  const named = known.map((layer) => ({ layer, name: layer.path.replaceAll('.', '_') }));
  for (const module of modules) {
    const { stem, name } = module;
    const found = only(named, (k) => k.name, name, '_')?.layer;
    if (found === undefined) {
      const near = didYouMean(
        name,
        named.map((n) => n.name),
      );
      problems.push(`the model has no layer for the tensors "${stem}.lora_down.weight" and its like${near}`);
    } else if (layers.has(found.path)) problems.push(`two modules of the file fit layer "${found.path}"`);
    else {
      const layer = layerOf(module, found, file);
      if (typeof layer === 'string') problems.push(layer);
      else layers.set(found.path, layer);
    }
  }
  return { layers, problems };
}

/**
 * A layer, or a sentence if its shapes do not match. Some trainers store a matrix as a 1x1 convolution, and the
 * reverse.
 */
function layerOf({ stem, down, up, alpha }: Module, known: KnownLayer, file: string): PeftLayer | string {
  if (down === undefined || up === undefined)
    throw badAdapter(`there is no tensor "${stem}.lora_${down === undefined ? 'down' : 'up'}.weight"`, file);
  const { form } = layerOp(known.op);
  const kernel = known.kernel ?? [];
  const rank = down.shape[0] ?? 0;
  const points = (shape: readonly number[]): string =>
    shape
      .slice(2)
      .filter((n) => n !== 1)
      .join();
  const window = kernel.filter((n) => n !== 1).join();
  const [down2, up2] = [down.shape.slice(0, 2), up.shape.slice(0, 2)];
  const fits =
    form !== 'embedding' &&
    down2.join() === [rank, known.in].join() &&
    up2.join() === [known.out, rank].join() &&
    points(down.shape) === window &&
    points(up.shape) === '' &&
    (window === '' || down.shape.slice(2).join() === kernel.join());
  if (!fits || rank === 0)
    return `"${stem}" has lora_down [${down.shape.join(', ')}] and lora_up [${up.shape.join(', ')}], but layer "${known.path}" is [${known.in}, ${known.out}]${kernel.length === 0 ? '' : ` with kernel ${kernel.join('x')}`}`;
  const [A, B] = [toFloat32(down), toFloat32(up)];
  const scaled = alpha ?? rank;
  const lengths = { form, in: known.in, out: known.out, rank, alpha: scaled, scale: scaled / rank };
  if (form === 'conv') return { ...lengths, kernel, A: A.slice(0, rank * known.in * sizeOf(kernel)), B };
  return { ...lengths, A: transposed(A, rank, known.in), B: transposed(B, known.out, rank) };
}
