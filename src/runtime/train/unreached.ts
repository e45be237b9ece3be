import type { Manifest } from '../../formats/manifest.ts';

/** A sentence about layers that the loss does not train, if there are any. */
export function unreachedNotice({ loss }: Pick<Manifest, 'loss'>): string[] {
  const { unreached = [], output } = loss ?? {};
  const shown = unreached.length > 6 ? [...unreached.slice(0, 5), `… ${unreached.length - 5} more`] : unreached;
  return unreached.length === 0
    ? []
    : [`the loss on output "${output}" has no gradient for ${shown.join(', ')}, which stay as they are`];
}
