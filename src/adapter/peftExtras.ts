/** The tensors of PEFT's files beside A and B: magnitudes (use_dora) and full weights (modules_to_save). */
import { badAdapter } from '../errors.ts';
import { type RawTensor, toFloat32 } from '../formats/rawTensor.ts';
import type { PeftConfig } from './peftConfig.ts';
import { configName, type PeftLayer, peftPrefix, type TensorSource } from './peftTensors.ts';

/** The key of a magnitude, and of a modules_to_save weight, as save_pretrained writes them. */
export const magnitudeKey = (path: string): string => `${peftPrefix}${path}.lora_magnitude_vector`;
export const savedKey = (parameter: string): string => `${peftPrefix}${parameter}`;

/** Also matches the keys of state_dict() and of versions before 0.11. */
const magnitude = /^base_model\.model\.(.+)\.lora_magnitude_vector(?:\.[^.]+)?(?:\.weight)?$/;
/** A weight of the base that PEFT saved beside the adapter: of a wrapped layer, or one that it replaced. */
const copied = /^base_model\.model\.(.+)\.(?:base_layer|original_module)\.([^.]+)$/;
const saved = /^base_model\.model\.((?!.*\.(?:lora_|token_adapter)).+)$/;
const wrapper = /\.modules_to_save\.[^.]+(?=\.)/;

/** A weight of the base model beside an adapter; it may be large, so it is read in parts. */
export interface BaseCopy {
  readonly shape: readonly number[];
  /** Opens the file while `use` runs; `read` gives a range of elements. */
  readonly open: (use: (read: (from: number, count: number) => RawTensor) => void) => void;
}

export interface PeftExtras {
  /** The other tensors. */
  readonly rest: TensorSource;
  /** The full weights by parameter: module path, dot, name. */
  readonly saved: ReadonlyMap<string, RawTensor>;
  /** Weights of the base by parameter, as PEFT names it. */
  readonly copies: ReadonlyMap<string, BaseCopy>;
  /** The layers with their magnitudes. Throws BAD_ADAPTER if one is missing, superfluous or of the wrong size. */
  readonly decomposed: (layers: ReadonlyMap<string, PeftLayer>) => Map<string, PeftLayer>;
}

export interface ExtrasSource extends TensorSource {
  /** A tensor that is read later, in parts. */
  copyOf(key: string): BaseCopy;
}

/** Whether a parameter belongs to a module of modules_to_save: one whose path ends with such a name. */
function isSaved(parameter: string | undefined, modules: readonly string[]): boolean {
  const parts = parameter?.split('.').slice(0, -1) ?? [];
  return parts.some((_, i) =>
    modules.some((m) =>
      parts
        .slice(0, i + 1)
        .join('.')
        .endsWith(m),
    ),
  );
}

export function peftExtras(source: ExtrasSource, config: PeftConfig, file?: string): PeftExtras {
  const magnitudes = new Map<string, RawTensor>();
  const whole = new Map<string, RawTensor>();
  const copies = new Map<string, BaseCopy>();
  const rest = new Map<string, { readonly shape: readonly number[] }>();
  for (const [key, info] of source.tensors) {
    const path = magnitude.exec(key)?.[1];
    const [, owner, leaf] = copied.exec(key) ?? [];
    const named = owner === undefined ? saved.exec(key)?.[1]?.replace(wrapper, '') : `${owner}.${leaf}`;
    const parameter = owner === undefined && isSaved(named, config.modulesToSave) ? named : undefined;
    const isCopy = owner !== undefined || /\.weight$/.test(named ?? '');
    if (path === undefined && parameter === undefined && named !== undefined && isCopy) {
      copies.set(named, source.copyOf(key));
      continue;
    }
    if (parameter !== undefined && whole.has(parameter))
      throw badAdapter(`there are two tensors for the weight "${parameter}" of modules_to_save`, file);
    const into = path !== undefined ? magnitudes : parameter !== undefined ? whole : undefined;
    const tensor = into === undefined ? undefined : source.read(key);
    if (into === undefined || tensor === undefined) rest.set(key, info);
    else into.set(path ?? parameter ?? '', tensor);
  }
  for (const [name, { dtype }] of [...magnitudes, ...whole])
    if (!/^(F|BF)/.test(dtype)) throw badAdapter(`the tensor of "${name}" has the type ${dtype}`, file);
  if (whole.size === 0 && config.modulesToSave.length > 0)
    throw badAdapter(
      `${configName} has modules_to_save: ${config.modulesToSave.join(', ')}, but no tensor is a weight of such a module`,
      file,
    );
  const decomposed = (layers: ReadonlyMap<string, PeftLayer>): Map<string, PeftLayer> => {
    const [stray] = [...magnitudes.keys()].filter((path) => !config.useDora || !layers.has(path));
    if (stray !== undefined)
      throw badAdapter(
        config.useDora
          ? `"${magnitudeKey(stray)}" belongs to a module without lora_A and lora_B`
          : `there is a tensor "${magnitudeKey(stray)}", but ${configName} does not set use_dora`,
        file,
      );
    if (!config.useDora) return new Map(layers);
    return new Map(
      [...layers].map(([path, layer]) => {
        const found = magnitudes.get(path);
        if (found === undefined)
          throw badAdapter(
            `${configName} sets use_dora, but the module "${path}" has no magnitude: there is no tensor "${magnitudeKey(path)}"`,
            file,
          );
        const values = toFloat32(found);
        if (values.length !== layer.out)
          throw badAdapter(
            `"${magnitudeKey(path)}" has the shape [${found.shape.join(', ')}] for a layer of ${layer.out} outputs`,
            file,
          );
        return [path, { ...layer, magnitude: values }];
      }),
    );
  };
  return { rest: { tensors: rest, read: (key) => source.read(key) }, saved: whole, copies, decomposed };
}
