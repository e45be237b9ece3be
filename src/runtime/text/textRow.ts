/** A row of text as token ids, and the means to convert one. */

import type { ChatTemplates } from '../../text/load.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import type { ClassReader } from '../data/labels.ts';
import type { ColumnOptions } from './columns.ts';
import type { Task } from './task.ts';

/** The ids of a row, with what depends on them. */
export interface TextRow {
  readonly ids: readonly number[];
  readonly types: readonly number[];
  /** Labels of tokens, as many as ids. */
  readonly tags?: readonly number[] | undefined;
  /** Labels of the row. */
  readonly labels?: readonly unknown[] | undefined;
}

/** The means to convert the rows of a file. */
export interface Conversion {
  readonly task: Task;
  readonly tokenizer: TextTokenizer;
  readonly templates: ChatTemplates | undefined;
  readonly options: ColumnOptions & CountOptions;
  /** The most tokens of a row. */
  readonly maxLength: number | undefined;
  readonly ignoreIndex: number;
  /** The names of classes; absent for other labels. */
  readonly classes: ClassReader | undefined;
  /** The number of labels of a row, for multi-label. */
  readonly width: number;
}

/** Which tokens of a language model's rows count. */
export interface CountOptions {
  /** Those of completions only, not those of prompts. Default true. */
  readonly completionOnly?: boolean | undefined;
  /** Those of the assistant's turns only. Default false. */
  readonly assistantOnly?: boolean | undefined;
}
