/** The domain of nodes that exist only inside the compiler; lowering replaces them. */
export const internalDomain = 'loraify';
