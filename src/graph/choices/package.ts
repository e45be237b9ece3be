/** Choices of the commands that work on a package. */
import type { Choice } from './choice.ts';

/** Execution providers that onnxruntime-node can have on some platform. */
export const providers = {
  cpu: { help: 'everywhere' },
  cuda: { help: 'NVIDIA GPUs' },
  webgpu: { help: 'GPUs through WebGPU' },
  tensorrt: { help: 'NVIDIA GPUs through TensorRT' },
  dml: { help: 'GPUs through DirectML (Windows)' },
  coreml: { help: 'Core ML (macOS)' },
  qnn: { help: 'Qualcomm NPUs' },
} as const satisfies Readonly<Record<string, Choice>>;
export type ProviderName = keyof typeof providers;

/** Learning rates after the warm-up, as transformers' get_*_schedule_with_warmup. */
export const schedules = {
  constant: { help: 'the peak to the end' },
  linear: { help: 'down to 0 in a line' },
  cosine: { help: 'down to 0 along half a cosine' },
} as const satisfies Readonly<Record<string, Choice>>;
export type ScheduleKind = keyof typeof schedules;

/** `isModel`: the whole model is written, so the options of models apply. */
export const exportFormats = {
  peft: { help: 'a PEFT directory, for PeftModel.from_pretrained', isModel: false },
  onnx_adapter: { help: "a file for ONNX Runtime's adapter API", isModel: false },
  safetensors: { help: 'the tensors of onnx_adapter as safetensors', isModel: false },
  onnx: { help: 'a model with branches; --inputs says where the adapter is', isModel: true },
} as const satisfies Readonly<Record<string, Choice & { readonly isModel: boolean }>>;
export type ExportFormat = keyof typeof exportFormats;

/** The place of the adapter in an exported model. The command prints `summary`. */
export const adapterInputs = {
  baked: { help: 'in initializers, inside the model', summary: 'adapter inside' },
  required: { help: 'in inputs, which JavaScript can feed', summary: 'adapter as required inputs' },
  optional: {
    help: "in inputs with empty defaults, for ONNX Runtime's adapter API",
    summary: 'adapter as optional inputs',
  },
} as const satisfies Readonly<Record<string, Choice & { readonly summary: string }>>;
export type AdapterInputs = keyof typeof adapterInputs;

/** The ways to combine several adapters into one, as in PEFT's add_weighted_adapter. */
export const combinations = {
  linear: { help: 'A and B are added up apart; ranks must be equal' },
  cat: { help: 'the exact sum of the branches; ranks add up' },
} as const satisfies Readonly<Record<string, Choice>>;
export type Combination = keyof typeof combinations;

/** Shells that `completion` writes for. */
export const shells = {
  bash: { help: 'source <(loraify completion bash)' },
  zsh: { help: 'source <(loraify completion zsh)' },
} as const satisfies Readonly<Record<string, Choice>>;
export type Shell = keyof typeof shells;
