/** A layer of a model or package that an adapter can match. */
export interface KnownLayer {
  readonly path: string;
  readonly op: string;
  readonly in: number;
  readonly out: number;
  readonly kernel?: readonly number[] | undefined;
}
