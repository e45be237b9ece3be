/** The first bytes of files by which they are recognized, one character for each byte. */
export const signatures = {
  zip: 'PK\x03\x04',
  gzip: '\x1f\x8b',
  zstd: '\x28\xb5\x2f\xfd',
  bzip2: 'BZh',
  xz: '\xfd7zXZ',
  parquet: 'PAR1',
  hdf5: '\x89HDF',
} as const;
