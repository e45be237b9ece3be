/** The one place that chooses the implementation of an engine's calls. */

import { NodeExecutor } from './nodeExecutor.ts';
import type { Executor, Opening } from './protocol.ts';

/** The executor of a package: onnxruntime-node, whatever the provider. Errors: RUNTIME_FAILED. */
export const openExecutor = (opening: Opening): Promise<Executor> => NodeExecutor.open(opening);
