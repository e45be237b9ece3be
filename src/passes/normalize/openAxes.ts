/** Axes of inputs that a file leaves open without a name. */
import { freshName, type Graph, type Model, type Value } from '../../graph/model.ts';
import { changeLengths } from './bind/symbols.ts';

/**
 * Names that exporters write for every length that they do not know: Paddle `?`, Keras and scikit-learn `None`, others
 * `-1`. Equal ones are not equal lengths.
 */
const placeholder = /^(\?+|-\d+|\*|_|\.\.\.|none|null|nan|any|unk|<unk>|unknown|<unknown>|undefined|dyn|dynamic)$/i;

/** Names that exporters number, TensorFlow's and Paddle's: of one length each, unless an input has one twice. */
const numbered = /^(unk__\d+|(.*\.)?DynamicDimension\.\d+)$/;

/** Replaces placeholders by unknown lengths, and gives every open axis of an input a symbol of its own. In place. */
export function nameOpenAxes(model: Model): void {
  const { graph } = model;
  const twice = new Set(graph.inputs.flatMap(repeated).filter((d) => numbered.test(d)));
  const isPlaceholder = (d: string): boolean => placeholder.test(d) || twice.has(d);
  if (symbolsIn(graph).some(isPlaceholder))
    changeLengths(model, (d) => (typeof d === 'string' && isPlaceholder(d) ? null : d));
  const taken = new Set(symbolsIn(graph));
  for (const v of graph.inputs) {
    if (v.type?.kind !== 'tensor' || v.type.shape?.includes(null) !== true) continue;
    const shape = v.type.shape.map((d, i) => {
      if (d !== null) return d;
      const name = freshName(`${v.name}_${i}`, taken);
      taken.add(name);
      return name;
    });
    v.type = { ...v.type, shape };
  }
}

const symbolsOf = (v: Value): string[] => (v.shape ?? []).filter((d) => typeof d === 'string');

const repeated = (v: Value): string[] => symbolsOf(v).filter((d, i, all) => all.indexOf(d) !== i);

const symbolsIn = (graph: Graph): string[] =>
  graph.allGraphs().flatMap((g) => [...g.inputs, ...g.nodes.flatMap((n) => n.outputs)].flatMap(symbolsOf));
