/** Names under which transformers' `AutoModelFor…` classes find the layers and the head of a package. */
import { type Manifest, type ManifestLayer, type ManifestSaved, peftParameter, peftPath } from '../formats/manifest.ts';
import { heads } from '../graph/choices/heads.ts';
import { headFamily } from '../passes/index.ts';
import { moduleOf, withPrefix } from './peftModules.ts';

export interface ClassNames {
  readonly layer: (layer: ManifestLayer) => string;
  readonly saved: (saved: ManifestSaved) => string;
  readonly known: (path: string) => string;
  /** The name of a module that an adapter names otherwise than the package. */
  readonly other: (path: string) => string;
  readonly modulesToSave: readonly string[] | undefined;
  /** PEFT's task_type for the class. */
  readonly task?: 'SEQ_CLS' | 'TOKEN_CLS' | undefined;
  readonly warnings: readonly string[];
}

/** The class of transformers that has the package's head, or the reason why there is none. */
type HeadClass =
  | { readonly prefix: string; readonly linear: string; readonly task: ClassNames['task'] }
  | string
  | undefined;

/** @param given the prefix; `none`: the names of the package; absent: that of the family where its class has this head. */
export function classNames(manifest: Manifest, given: string | undefined): ClassNames {
  const { head, layers, lora } = manifest;
  if (head === undefined) return bodyNames(manifest, given);
  const found = classOf(head);
  const own = head?.linear?.path;
  const fits = typeof found === 'object' && given !== 'none';
  const prefix = given === 'none' ? undefined : (given?.replace(/\.$/, '') ?? (fits ? found.prefix : undefined));
  // A body that was exported with its language model's head has the prefix already.
  const isThere = prefix === undefined || layers.some((l) => l.path.startsWith(`${prefix}.`));
  const known = (path: string): string => (isThere || path.startsWith(`${prefix}.`) ? path : `${prefix}.${path}`);
  const linear = fits ? found.linear : own;
  return {
    known,
    other: (path) => path,
    layer: (layer) => (layer.peft === undefined ? known(layer.path) : peftPath(layer)),
    saved: (saved) => {
      const path = peftParameter(saved);
      if (own !== undefined && path.startsWith(`${own}.`)) return `${linear}${path.slice(own.length)}`;
      return saved.peft === undefined ? known(path) : path;
    },
    modulesToSave: lora.modulesToSave?.map((name) => (name === own && linear !== undefined ? linear : name)),
    task: fits && prefix !== undefined ? found.task : undefined,
    warnings: typeof found === 'string' ? [found] : [],
  };
}

/** The names of a package without a new head, with another beginning where one is given. */
function bodyNames({ source, lora }: Manifest, given: string | undefined): ClassNames {
  const rename = withPrefix(given, source.family);
  return {
    known: rename,
    other: rename,
    layer: (layer) => rename(peftPath(layer)),
    saved: (saved) => {
      const parameter = peftParameter(saved);
      const module = moduleOf(parameter);
      return rename(module) + parameter.slice(module.length);
    },
    modulesToSave: lora.modulesToSave,
    warnings: [],
  };
}

function classOf(head: Manifest['head']): HeadClass {
  const family = headFamily(head?.family);
  if (head?.linear === undefined || family === undefined || heads[head.kind].outputs === 'size') return undefined;
  const { kind, pooling, linear, rank } = head;
  const perToken = !heads[kind].pools;
  const name = `transformers' class of ${head.family} for ${perToken ? 'tokens' : family.images ? 'images' : 'sequences'}`;
  const instead = 'so PEFT loads this adapter on a module that is the body with this head beside it';
  const { token } = family;
  const before = perToken ? token !== undefined && 'before' in token && token.before : family.row;
  if (before !== undefined && before !== false) return `${name} has ${before} before its Linear, ${instead}`;
  const usual = family.decoder === true ? 'last' : 'cls';
  if (!perToken && (pooling !== usual || rank !== 3))
    return `${name} has pooling ${usual}, this head ${pooling ?? 'none'}, ${instead}`;
  if (family.decoder === true && !perToken && linear.bias) return `${name} has no bias, ${instead}`;
  const usualPath = family.decoder === true ? 'score' : 'classifier';
  return {
    prefix: family.prefix,
    linear: perToken && token !== undefined && 'path' in token ? token.path : usualPath,
    task: perToken ? 'TOKEN_CLS' : family.images === true ? undefined : 'SEQ_CLS',
  };
}
