/** What a user names as an adapter to start from: a PEFT directory, or a file with kohya's keys. */
import { statSync } from 'node:fs';
import type { RawTensor } from '../formats/rawTensor.ts';
import { openSafetensors } from '../formats/safetensors.ts';
import type { KnownLayer } from './known.ts';
import { isKohya, kohyaLayers } from './kohya.ts';
import { readPeft } from './peftRead.ts';
import type { PeftLayer } from './peftTensors.ts';

export interface NamedLayers {
  /** By module path as PEFT writes it, or as the model has it. */
  readonly layers: ReadonlyMap<string, PeftLayer>;
  readonly warnings: readonly string[];
}

/** What an adapter says of all its layers. */
export interface AdapterSettings {
  readonly rank: number;
  readonly alpha: number;
  readonly scaling: 'standard' | 'rslora';
  /** See PeftConfig. */
  readonly told: Readonly<Record<string, unknown>>;
}

export interface OpenedAdapter {
  /** Absent: it says everything layer by layer. */
  readonly settings?: AdapterSettings;
  /** Whether the adapter has a layer for the module of this path. */
  readonly modules: { has(path: string): boolean };
  /** `lora_dropout` of its config; 0 where it has none. */
  readonly dropout: number;
  /** Its layers, for a model that has these. */
  layersFor(known: readonly KnownLayer[]): NamedLayers;
  /** Whole weights that it brings, by parameter, and how its modules are named (modules_to_save). */
  readonly saved: ReadonlyMap<string, RawTensor>;
  readonly modulesToSave: readonly string[];
}

/** A file with kohya's keys; undefined where `path` is something else. Errors: those of reading it. */
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

/** Errors: those of readPeft, and ADAPTER_MISMATCH where a file's layers are not those of the model. */
export function openAdapter(path: string): OpenedAdapter {
  const kohya = openKohya(path);
  if (kohya !== undefined) return kohya;
  const { tensors, rank, alpha, useRslora, told, dropout, saved, modulesToSave } = readPeft(path);
  const settings = { rank, alpha, scaling: useRslora ? 'rslora' : 'standard', told } as const;
  return {
    settings,
    modules: tensors,
    dropout,
    saved,
    modulesToSave,
    layersFor: () => ({ layers: tensors, warnings: [] }),
  };
}
