/** The names of the inputs and outputs that training graphs add to a model. */
import { losses } from '../../graph/choices/losses.ts';
import { graphsOf, type Model, nameGiver, namesIn } from '../../graph/model.ts';
import type { ChosenLoss } from '../loss/chooseLoss.ts';

/** The final names of inputs and outputs, by the names that they have if the model uses none of them. */
export type Names = Readonly<ReturnType<typeof finalNames>>;

/**
 * Adds a suffix to a name that any graph of the model already uses, bodies included: names are unique over nested
 * scopes.
 */
export function finalNames(model: Model, { kind, output }: ChosenLoss) {
  const free = nameGiver(namesIn(graphsOf(model)));
  return {
    lora_params: free('lora_params'),
    lora_m: free('lora_m'),
    lora_v: free('lora_v'),
    lora_step: free('lora_step'),
    lora_lr: free('lora_lr'),
    lora_grad: free('lora_grad'),
    lora_apply: free('lora_apply'),
    lora_seed: free('lora_seed'),
    lora_loss_scale: free('lora_loss_scale'),
    labels: free(losses[kind].over === 'caller' ? `d_${output.name}` : 'labels'),
    loss: free('loss'),
    weight: free('weight'),
    grad_norm: free('grad_norm'),
  };
}
