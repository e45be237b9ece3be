/** Mutants that compute the same, with the reason. */
export const equivalent: readonly { file: string; from: string; to: string; reason: string }[] = [];
