/** Numbers as people read them. */
import { expect, it } from 'vitest';
import { bytes } from '../../src/cli/format.ts';

it.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.00 KiB'],
  [1013 * 1024, '1013 KiB'],
  [999.7 * 1024, '1000 KiB'],
  [2 ** 20, '1.00 MiB'],
  [1022.6 * 2 ** 30, '1023 GiB'],
])('%d bytes are %s', (n, text) => {
  expect(bytes(n)).toBe(text);
});
