/** The execution providers that training graphs are made for. */
export const targets = ['portable', 'cpu', 'cuda', 'webgpu'] as const;
/** The execution provider that training graphs are made for. */
export type Target = (typeof targets)[number];

/** Whether graphs for this provider may have fused operators that WebGPU and the standard lack. */
export const takesFused = (target: Target): boolean => target === 'cpu' || target === 'cuda';
