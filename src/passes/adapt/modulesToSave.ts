/**
 * Weights that are trained themselves (PEFT's modules_to_save): which tensors of the model are the parameters of which module, and
 * their way into the state. A parameter is named as torch names it: module path, dot, `weight` or `bias` or whatever the file says.
 */

import { badOption } from '../../errors.ts';
import { constant, graphsOf, type Model, nameGiver, namesIn } from '../../graph/model.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { savedMark } from '../dialect/marks.ts';
import type { Parameter } from '../select/parameters.ts';

/** A parameter that is trained, with the initializer that holds it. */
export interface Saved {
  readonly parameter: Parameter;
  /** Of the initializer. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly tensor: Tensor;
}

/**
 * Gives each parameter an initializer of the main graph that only its module reads. `content`: what replaces it, in its own type and
 * shape. In place. Errors: BAD_OPTION where a parameter cannot be trained.
 */
export function trainWhole(
  model: Model,
  parameters: readonly Parameter[],
  content: (p: Parameter) => Tensor | undefined = () => undefined,
): Saved[] {
  const freshName = nameGiver(namesIn(graphsOf(model)));
  return parameters.map((parameter) => {
    const { path, value, uses, refused } = parameter;
    if (refused !== undefined)
      throw badOption(`"${path}" cannot be trained: ${refused}`, 'leave its module out of --modules-to-save');
    const shared =
      !model.graph.initializers.includes(value) || value.uses.size > uses.length || model.graph.outputs.includes(value);
    const tensor = content(parameter) ?? parameter.tensor;
    const own = shared ? constant(freshName(path), tensor) : value;
    if (shared) {
      model.graph.initializers.push(own);
      for (const { node, index } of uses) node.setInput(index, own);
    } else own.tensor = tensor;
    own.metadata.set(savedMark, path);
    return { parameter, name: own.name, shape: tensor.dims, tensor };
  });
}
