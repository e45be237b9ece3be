/** Dropout on a branch's input: the same mask over dy. */
import { masked } from '../../dialect/dropout.ts';
import { grad } from '../rules.ts';

grad('loraify.Dropout', ({ node, dy, g }) => [masked(g, node, dy)]);
