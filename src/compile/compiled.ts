/** The types of a compile that several of its stages share. */
import type { AdapterSettings } from '../adapter/index.ts';
import type { Layer, Model } from '../graph/model.ts';
import type { Candidates, Chosen, OnPass, Prepared, Saved, StateLayout, Stored } from '../passes/index.ts';
import type { Emittable } from './options.ts';

export interface Compiled {
  readonly graphs: ReadonlyMap<Emittable, Model>;
  readonly found: Candidates;
  readonly selection: Selection;
  readonly layers: readonly Layer[];
  readonly layout: StateLayout;
  readonly dropout: number;
  /** Weights that are trained themselves, in the order of the state, and what their modules were asked for by. */
  readonly saved: readonly Saved[];
  readonly modulesToSave: readonly string[];
  /** Absent where only `model` is emitted. */
  readonly prepared: Prepared | undefined;
  /** Weights that are stored in a half type. */
  readonly stored: Stored | undefined;
}

export interface CompileHooks {
  /** Called after each pass. */
  readonly onPass?: OnPass | undefined;
  /** Called as soon as model.onnx is made, before the training graphs are. */
  readonly onModel?: (model: Model, stored: Stored | undefined) => void;
}

export interface Selection {
  readonly chosen: readonly Chosen[];
  /** Why a candidate was left alone, by path. */
  readonly left: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
  /** Those of an adapter that the layers come from, in place of the options. */
  readonly settings?: AdapterSettings;
}
