/** Tables of a model, such as embeddings: the indices and lengths that they have entries for. */

/** The indices that a table accepts: from `least` to below `entries`. */
export interface TableRange {
  readonly table: string;
  readonly entries: number;
  readonly least: number;
  /** The elements that are indices, if not all are: those at `from` to before `to` (from the end if negative). */
  readonly part?: { readonly axis: number; readonly from: number; readonly to?: number | undefined } | undefined;
}

/** The length of a row for which a table has entries, such as one of positions. */
export interface LengthLimit {
  readonly table: string;
  readonly axis: number;
  readonly most: number;
  /** Elements of this value are not counted. */
  readonly except?: number | undefined;
  /** The limit does not apply if the data have this input. */
  readonly unless?: string | undefined;
}
