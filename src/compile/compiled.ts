/** The types of a compile that several of its stages share. */
import type { AdapterSettings } from '../adapter/index.ts';
import type { Layer, Model } from '../graph/model.ts';
import type { Candidates, Chosen, JoinedCopy, OnPass, Prepared, Saved, StateLayout, Stored } from '../passes/index.ts';
import type { TreatedLora } from './existingLora.ts';
import type { Emittable } from './options.ts';

export interface Compiled {
  readonly graphs: ReadonlyMap<Emittable, Model>;
  /** Weights that the source holds several times. */
  readonly copies: readonly JoinedCopy[];
  /** LoRA that the source had. */
  readonly existing: TreatedLora;
  readonly found: Candidates;
  readonly selection: Selection;
  readonly layers: readonly Layer[];
  readonly layout: StateLayout;
  readonly dropout: number;
  /** modules_to_save weights in state order, and the patterns that selected them. */
  readonly saved: readonly Saved[];
  readonly modulesToSave: readonly string[];
  /** The names of these weights in the adapter that they come from, by parameter, where they differ. */
  readonly savedNames: ReadonlyMap<string, string>;
  /** Absent if only `model` is emitted. */
  readonly prepared: Prepared | undefined;
  /** The weights that were rounded. */
  readonly stored: Stored | undefined;
}

export interface CompileHooks {
  /** model_type of the config.json beside the model. */
  readonly family?: string | undefined;
  /** Called after each pass. */
  readonly onPass?: OnPass | undefined;
  /** Called as soon as model.onnx is made, before the training graphs. */
  readonly onModel?: (model: Model, stored: Stored | undefined) => void;
}

export interface Selection {
  readonly chosen: readonly Chosen[];
  /** The reason why a candidate was not selected, by path. */
  readonly left: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
  /** The settings of the adapter that the layers come from, instead of the options. */
  readonly settings?: AdapterSettings;
}
