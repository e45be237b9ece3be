import { it } from 'vitest';
import { printModel } from '../../src/emit/index.ts';
import { compare, mayRefuse, stats, subjectOf } from './random/check.ts';
import { graphOf, opsets, recipeOf } from './random/graph.ts';

const count = Number(process.env.RANDOM_GRAPHS ?? 100);
const from = Number(process.env.RANDOM_GRAPHS_SEED ?? 1);

it('scratch', async () => {
  const t0 = performance.now();
  const failures: string[] = [];
  let refused = 0;
  const groups = new Map<number, { seed: number; s: ReturnType<typeof subjectOf> }[]>();
  let nodes = 0;
  for (let seed = from; seed < from + count; seed++) {
    let stage = 'draw';
    let g: ReturnType<typeof graphOf> | undefined;
    try {
      g = graphOf(recipeOf(seed));
      nodes += g.model.graph.nodes.length;
      stage = 'compile';
      const s = subjectOf(g);
      groups.set(g.opset, [...(groups.get(g.opset) ?? []), { seed, s }]);
    } catch (e) {
      if (g !== undefined && mayRefuse(e, g)) refused++;
      else
        failures.push(
          `${seed} ${stage} ${g?.mode}: ${e instanceof Error ? (stage === 'draw' ? e.stack?.split('\n').slice(0, 4).join(' | ') : e.message) : e}`,
        );
    }
  }
  const t1 = performance.now();
  for (const opset of opsets) {
    const list = groups.get(opset) ?? [];
    const run = async (part: typeof list): Promise<void> => {
      try {
        const r = await compare(
          part.map((p) => p.s),
          opset,
        );
        r.forEach((m, i) => {
          if (m !== undefined) failures.push(`${part[i]?.seed} opset ${opset} ${part[i]?.s.type}: ${m}`);
        });
      } catch (e) {
        if (part.length === 1) {
          failures.push(`${part[0]?.seed} opset ${opset} run: ${e instanceof Error ? e.message.slice(0, 400) : e}`);
          return;
        }
        // Names were prefixed: made anew.
        const again = part.map((p) => ({ seed: p.seed, s: subjectOf(graphOf(recipeOf(p.seed))) }));
        const half = again.length >> 1;
        await run(again.slice(0, half));
        await run(again.slice(half));
      }
    };
    for (let i = 0; i < list.length; i += 8) await run(list.slice(i, i + 8));
  }
  const t2 = performance.now();
  console.log(failures.join('\n'));
  for (const t of ['float64', 'float32']) {
    const l = stats.filter((s) => s.type === t);
    const rel = l.map((s) => s.error / (s.magnitude + 1e-30)).sort((a, b) => a - b);
    const abs = l.map((s) => s.error).sort((a, b) => a - b);
    const q = (x: number[], f: number) => x[Math.floor(f * (x.length - 1))];
    const mag = l.map((s) => s.magnitude).sort((a, b) => a - b);
    console.log(
      t,
      l.length,
      'mag',
      [0.05, 0.25, 0.5, 0.9, 1].map((f) => q(mag, f)?.toExponential(1)).join(' '),
      'rel',
      [0.5, 0.9, 0.99, 1].map((f) => q(rel, f)?.toExponential(1)).join(' '),
      'abs',
      [0.5, 0.9, 0.99, 1].map((f) => q(abs, f)?.toExponential(1)).join(' '),
    );
  }
  console.log(
    `${count} graphs, ${nodes} nodes, refused ${refused}, failures ${failures.length}, compile ${(t1 - t0) | 0} ms, run ${(t2 - t1) | 0} ms, cpu ${JSON.stringify(process.cpuUsage())}`,
  );
  if (process.env.SHOW) console.log(printModel(graphOf(recipeOf(from)).model, { full: true, comments: false }));
}, 600_000);
