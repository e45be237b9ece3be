/** The versions of ONNX that are read and written, which are those of the ONNX Runtime that the package depends on. */

/**
 * IR versions. 14 adds nothing to 13 but two element types, so files that claim it are read; ONNX Runtime 1.30 loads up
 * to `newest`, which is what is written at most.
 */
export const irVersions = { oldest: 1, newest: 13, read: 14 } as const;

/** Opsets of ai.onnx. 7 is the first with today's broadcasting. */
export const opsets = { oldest: 7, newest: 26 } as const;

/**
 * Other domains of ONNX Runtime with their newest version, which a node without an opset_import for its domain gets
 * there too.
 */
export const builtinDomains: ReadonlyMap<string, number> = new Map([
  ['ai.onnx.ml', 5],
  ['ai.onnx.training', 1],
  ['ai.onnx.preview.training', 1],
  ['com.microsoft', 1],
  ['com.microsoft.nchwc', 1],
]);
