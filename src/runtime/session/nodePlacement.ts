/**
 * Reports the execution provider of each node of a graph from the profile of one run, the only source that
 * onnxruntime-node offers. A profile is a file with one event per line; those of nodes name operator and provider.
 */

import { createReadStream, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { GraphKind } from '../../formats/manifest.ts';

export interface NodePlacement {
  readonly graph: GraphKind;
  /** The number of executed nodes, bodies included, each counted once. */
  readonly nodes: number;
  /** Nodes that the CPU provider ran, by operator, most first; empty if there were none. */
  readonly onCpu: Readonly<Record<string, number>>;
  /** Nodes that ONNX Runtime added to copy values between the CPU and the device. */
  readonly copies: number;
}

/** The prefix of the names of a graph's profiles in a folder. */
export const profilePrefix = (folder: string, graph: GraphKind): string => join(folder, graph);

/** Reads the profile in a folder and removes it. Undefined if there is none that names providers. */
export async function takePlacement(folder: string, graph: GraphKind): Promise<NodePlacement | undefined> {
  // The date follows the prefix, because train_ is also a prefix of train_k's profiles.
  const file = readdirSync(folder).find(
    (name) => name.startsWith(`${graph}_`) && /\d/.test(name[graph.length + 1] ?? ''),
  );
  if (file === undefined) return undefined;
  const path = join(folder, file);
  try {
    return await placementOf(createInterface({ input: createReadStream(path, 'utf8') }), graph);
  } finally {
    rmSync(path, { force: true });
  }
}

/** Reads the placement from the lines of a profile. */
export async function placementOf(
  lines: AsyncIterable<string> | Iterable<string>,
  graph: GraphKind,
): Promise<NodePlacement | undefined> {
  const nodes = new Map<string, { readonly op: string; readonly provider: string }>();
  for await (const line of lines) {
    const name = /"name"\s*:\s*"((?:[^"\\]|\\.)*)_kernel_time"/.exec(line)?.[1];
    const provider = field(line, 'provider');
    const op = field(line, 'op_name');
    // A body's node occurs once for each iteration.
    if (name !== undefined && provider !== undefined && op !== undefined)
      nodes.set(`${field(line, 'node_index')} ${name}`, { op, provider });
  }
  if (nodes.size === 0) return undefined;
  const all = [...nodes.values()];
  const own = all.filter(({ op }) => !/^Memcpy(?:From|To)Host$/.test(op));
  const counts = new Map<string, number>();
  for (const { op, provider } of own)
    if (provider === 'CPUExecutionProvider') counts.set(op, (counts.get(op) ?? 0) + 1);
  const onCpu = Object.fromEntries([...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)));
  return { graph, nodes: own.length, onCpu, copies: all.length - own.length };
}

const field = (line: string, name: string): string | undefined =>
  new RegExp(`"${name}"\\s*:\\s*"([^"\\\\]*)"`).exec(line)?.[1];
