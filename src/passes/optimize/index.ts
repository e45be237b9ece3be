/**
 * Passes that make a finished gradient graph faster on one provider. `portable` is left as it was derived: the graph that every
 * provider runs. Each pass keeps what is computed; targets.test.ts holds the gradients of all targets against each other.
 */

import type { Builder } from '../../graph/builder.ts';
import type { Model } from '../../graph/model.ts';
import type { HalfType } from '../../graph/rounding.ts';
import type { Target } from '../common/target.ts';
import { narrowsActivations } from '../precision/computesIn.ts';
import { simplify } from './commonSubexpressions.ts';
import { joinReshapes, matrices } from './flattenRows.ts';
import { inferLengths } from './foldReshapes.ts';
import { fuseFactors, fuseSums, fuseTransposes } from './fuseTransposes.ts';
import { narrow } from './halfActivations.ts';
import { computeAgain } from './rematerialize.ts';
import { joinFactors, moveRowFactors } from './rowFactors.ts';
import { smallSums } from './softmaxGradient.ts';

/** In place. */
export function speedUp(model: Model, g: Builder, target: Target, stored?: HalfType): void {
  const { graph } = model;
  if (target === 'portable') return;
  matrices(graph, g);
  graph.adopt();
  simplify(graph);
  joinReshapes(graph);
  if (target === 'cuda') inferLengths(graph, g);
  graph.prune();
  smallSums(graph, g);
  if (joinFactors(graph, g)) graph.adopt();
  const half = narrowsActivations(target) ? stored : undefined;
  // A factor stays with the probabilities that are rounded: without a loss scale they are beyond the range of float16.
  if (half === undefined) moveRowFactors(graph, g);
  graph.adopt();
  if (target !== 'cuda') return;
  const turned = fuseTransposes(graph, g);
  graph.adopt();
  const scaled = fuseFactors(graph);
  graph.prune();
  if (half !== undefined) narrow(graph, half);
  fuseSums(graph);
  computeAgain(graph);
  if (turned || scaled) model.opsets.set('com.microsoft', 1);
}
