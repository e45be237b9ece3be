/** Opens an adapter to start from: a PEFT directory, or a file with kohya's keys. */
import { statSync } from 'node:fs';
import { suffixes } from '../formats/peftPattern.ts';
import type { RawTensor } from '../formats/rawTensor.ts';
import { openSafetensors } from '../formats/safetensors.ts';
import type { KnownLayer } from './known.ts';
import { isKohya, kohyaLayers } from './kohya.ts';
import { unpackedLayers } from './packed.ts';
import type { BaseCopy } from './peftExtras.ts';
import { readPeft } from './peftRead.ts';
import type { PeftLayer } from './peftTensors.ts';

export interface NamedLayers {
  /** The layers by module path, in PEFT's form or the model's. */
  readonly layers: ReadonlyMap<string, PeftLayer>;
  readonly warnings: readonly string[];
}

/** The settings that apply to all layers of an adapter. */
export interface AdapterSettings {
  readonly rank: number;
  readonly alpha: number;
  readonly scaling: 'standard' | 'rslora';
  /** The config's other fields; see PeftConfig. */
  readonly otherFields: Readonly<Record<string, unknown>>;
}

export interface OpenedAdapter {
  /** Absent if the adapter has only settings per layer. */
  readonly settings?: AdapterSettings;
  /** Whether the adapter has a layer for the module of this path. */
  readonly modules: { has(path: string): boolean };
  /** `lora_dropout` of its config; 0 without one. */
  readonly dropout: number;
  /** The adapter's layers, matched to a model's layers. */
  layersFor(known: readonly KnownLayer[]): NamedLayers;
  /** The adapter's full weights by parameter, and the names of their modules (modules_to_save). */
  readonly saved: ReadonlyMap<string, RawTensor>;
  readonly modulesToSave: readonly string[];
  /** Weights of the base model that the adapter has, by parameter. */
  readonly copies: ReadonlyMap<string, BaseCopy>;
}

/** Opens a file with kohya's keys; undefined if `path` is something else. Errors: those of reading it. */
export function openKohya(path: string): OpenedAdapter | undefined {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true || !path.endsWith('.safetensors')) return undefined;
  const source = openSafetensors(path);
  try {
    if (!isKohya(source.tensors.keys())) return undefined;
    const names = [...source.tensors.keys()].map((k) => k.slice(0, k.indexOf('.')));
    const modules = { has: (module: string) => names.some((n) => n.endsWith(`_${module.replaceAll('.', '_')}`)) };
    const read = (): typeof source => openSafetensors(path);
    return {
      modules,
      dropout: 0,
      saved: new Map(),
      modulesToSave: [],
      copies: new Map(),
      layersFor: (known) => {
        const file = read();
        try {
          return kohyaLayers(file, known, path);
        } finally {
          file.close();
        }
      },
    };
  } finally {
    source.close();
  }
}

/** Finds paths of which one is the other's suffix, as exports add or drop a wrapper. */
function modulesOf(paths: readonly string[]): OpenedAdapter['modules'] {
  const known = new Set(paths);
  const tails = new Set(paths.flatMap(suffixes));
  return { has: (path) => known.has(path) || tails.has(path) || suffixes(path).some((s) => known.has(s)) };
}

/** Opens an adapter. Errors: those of readPeft, and ADAPTER_MISMATCH if a file's layers are not those of the model. */
export function openAdapter(path: string): OpenedAdapter {
  const kohya = openKohya(path);
  if (kohya !== undefined) return kohya;
  const { tensors, rank, alpha, useRslora, otherFields, dropout, saved, modulesToSave, copies } = readPeft(path);
  const settings = { rank, alpha, scaling: useRslora ? 'rslora' : 'standard', otherFields } as const;
  return {
    settings,
    modules: modulesOf([...tensors.keys()]),
    dropout,
    saved,
    modulesToSave,
    copies,
    layersFor: (known) => ({ layers: unpackedLayers(tensors, known), warnings: [] }),
  };
}
