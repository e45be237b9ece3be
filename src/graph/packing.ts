/** Prepacked weights: copies that the CPU provider makes for its MatMuls. */

/** The size from which weights are not kept twice, in bytes. */
const packingLimit = 2 ** 30;

/** Whether a package with this number of parameters runs without prepacked weights. */
export const isUnpacked = (parameters: number): boolean => parameters * 4 > packingLimit;
