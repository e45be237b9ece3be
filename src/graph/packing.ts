/** Packed copies of weights, which the CPU provider makes for its products. */

/** Weights of this many bytes are not kept twice. */
const packingLimit = 2 ** 30;

/** Whether a package with so many parameters runs without packed copies. */
export const isUnpacked = (parameters: number): boolean => parameters * 4 > packingLimit;
