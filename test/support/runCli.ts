/** The compiled command line as a process. */

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';

export const bin = join(import.meta.dirname, '../../dist/bin/loraify.js');

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Called when the process runs. */
  readonly start?: (child: ChildProcess) => void;
  /** A limit of the shell for it, as `ulimit` takes it. */
  readonly limit?: string;
  /** Called with everything on stderr so far. */
  readonly watch?: (stderr: string, child: ChildProcess) => void;
}

export function loraify(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ...options.env };
    const command = [process.execPath, bin, ...args];
    const limited = ['sh', '-c', `ulimit ${options.limit}; exec "$@"`, 'sh', ...command];
    const [program = '', ...rest] = options.limit === undefined ? command : limited;
    const child = spawn(program, rest, { cwd: options.cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    options.start?.(child);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (part: string) => {
      stdout += part;
    });
    child.stderr.setEncoding('utf8').on('data', (part: string) => {
      stderr += part;
      options.watch?.(stderr, child);
    });
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, stdout, stderr }));
  });
}
