import type { Prepared } from '../training.ts';
import type { Resolved } from './lengths.ts';

export function rowsMixed(_p: Prepared, _r: Resolved): string | undefined {
  return undefined;
}
