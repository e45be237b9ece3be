/** The thread that owns the sessions and the state of one package. Calls are answered in order, one at a time. */

import { parentPort } from 'node:worker_threads';
import { LoraifyError } from '../../errors.ts';
import { openExecutor } from './executor.ts';
import type { Call, Executor, Failure, Reply, Request, Result } from './protocol.ts';

let executor: Executor | undefined;

async function handle(request: Request): Promise<Result> {
  if (request.kind === 'open') {
    executor = await openExecutor(request);
    return { kind: 'open' };
  }
  if (executor === undefined) throw new Error('the first call must be open');
  return executor.handle(request);
}

function failureOf(error: unknown): Failure {
  if (error instanceof LoraifyError) {
    const { code, message, hint, file, node, where } = error;
    return { code, message, hint, file, node, where };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: undefined, message, hint: '', file: undefined, node: undefined, where: undefined };
}

/** Buffers to transfer because the worker does not need them again; the state of getState is copied. */
function moved(result: Result): ArrayBuffer[] {
  if (result.kind !== 'evaluate') return [];
  return Object.values(result.outputs).flatMap(({ data }) => (data.buffer instanceof ArrayBuffer ? [data.buffer] : []));
}

const port = parentPort;
if (port === null) throw new Error('worker.js runs as a worker thread only');
let turn: Promise<void> = Promise.resolve();
port.on('message', ({ id, request }: Call) => {
  turn = turn.then(async () => {
    try {
      const result = await handle(request);
      const reply: Reply = { id, result };
      port.postMessage(reply, moved(result));
    } catch (error) {
      const reply: Reply = { id, failure: failureOf(error) };
      port.postMessage(reply);
    }
  });
});
