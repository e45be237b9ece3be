/** Which adapters can be apart from the model they are for. */
import { badOption } from '../errors.ts';
import type { Manifest } from '../formats/manifest.ts';
import type { ExportOptions } from './exportOptions.ts';

/** Errors: BAD_OPTION where an adapter is to be inputs of a model but more of the base changes than branches. */
export function servable(manifest: Manifest, { format, inputs = 'baked', strength = false }: ExportOptions): void {
  const apart = format === 'onnx_adapter' || (format === 'onnx' && inputs !== 'baked');
  if (!apart && !strength) return;
  const [saved] = manifest.saved ?? [];
  const reason =
    saved !== undefined
      ? `"${saved.parameter}" is trained itself (modules_to_save)`
      : manifest.layers.some((l) => l.magnitude !== undefined)
        ? 'its layers are weight-decomposed (DoRA)'
        : undefined;
  if (reason === undefined) return;
  const what = strength ? '--strength' : format === 'onnx_adapter' ? '--format onnx_adapter' : `--inputs ${inputs}`;
  throw badOption(
    `${what} takes adapters that are branches beside the base, and in this package ${reason}: the base is not what is left without them`,
    'export --format onnx --inputs baked, --format peft or --format safetensors, or merge',
  );
}
