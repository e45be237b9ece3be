/** The domain of operators that exist only inside the compiler; lowering replaces them. */
export const internalDomain = 'loraify';
