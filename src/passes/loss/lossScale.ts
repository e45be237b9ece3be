/**
 * Loss scaling for float16 (Micikevicius et al. 2018): the initial gradient is multiplied by a scale, so that small
 * ones do not underflow, and the result is divided by it. The policy is torch.amp.GradScaler's: a non-finite gradient
 * skips the step and halves the scale, 2000 steps double it. GradScaler counts the steps since the scale last changed;
 * here the count of steps taken (`lora_step`) is the only counter, so the scale grows at its multiples of 2000, which
 * is the same until a step is skipped.
 */
import type { Builder } from '../../graph/builder.ts';
import { type Graph, type Node, producersOf, type Value } from '../../graph/model.ts';
import { isAdapted } from '../dialect/adapted.ts';
import { storedBehind } from '../precision/storedBehind.ts';

export const lossScaling = {
  /** The scale of the first step. */
  initial: 65536,
  /** Steps taken between two doublings. */
  growthInterval: 2000,
  /** At this scale a non-finite gradient is a real error, not float16 overflow. */
  least: 1,
} as const;

/** A larger scale could not be undone in float32 after a doubling; no gradient needs it. */
const most = 2 ** 63;
/**
 * Squares of larger numbers overflow float32. A comparison is false for NaN too, and providers without IsNaN have it.
 */
const finiteBelow = 3e38;

/**
 * True if a gradient between `loss` and an adapter passes through float16; `narrowed`: it will, if weights are rounded
 * to it.
 */
export function needsLossScale(graph: Graph, loss: Value, narrowed: boolean): boolean {
  const inside = (node: Node): Node[] => [node, ...node.bodies.flatMap((b) => [...b.allNodes()])];
  const adapted = new Set<Node>();
  for (const node of graph.nodes)
    if (inside(node).some(isAdapted) || producersOf(node).some((n) => adapted.has(n))) adapted.add(node);
  const path = new Set(loss.producer === undefined ? [] : [loss.producer]);
  for (const node of path) for (const n of producersOf(node)) if (adapted.has(n)) path.add(n);
  // A MatMul with a frozen float16 weight rounds the gradient that passes through it.
  const narrows = (n: Node): boolean =>
    isAdapted(n) && ((narrowed && storedBehind(n.inputs[1])) || n.inputs[1])?.dtype === 'float16';
  return [...path].some((node) => inside(node).some((n) => narrows(n) || n.outputs.some((v) => v.dtype === 'float16')));
}

/** Whether the gradient of this norm may be applied. */
export const inRange = (g: Builder, norm: Value): Value => g.Less(norm, g.float(finiteBelow));

/** The scale after a step: `step` counts the steps taken, including this one. */
export function nextScale(g: Builder, scale: Value, finite: Value, step: Value): Value {
  const intervals = g.Div(step, g.float(lossScaling.growthInterval));
  const grows = g.Equal(intervals, g.Floor(intervals));
  const doubled = g.Min([g.Mul(scale, g.float(2)), g.float(most)]);
  return g.Where(finite, g.Where(grows, doubled, scale), g.Mul(scale, g.float(0.5)));
}
