/** Checks that an adapter can be exported as model inputs. */
import { badOption } from '../errors.ts';
import type { Manifest, ManifestSaved } from '../formats/manifest.ts';
import type { ExportOptions } from './exportOptions.ts';

/** Whether a weight is one of the package's head, without which no model of the package has its output. */
export const isOfHead = ({ head }: Manifest, { parameter }: ManifestSaved): boolean =>
  head?.linear !== undefined && parameter.startsWith(`${head.linear.path}.`);

/** Errors: BAD_OPTION if an adapter is requested as model inputs but changes more of the base than branches. */
export function servable(manifest: Manifest, { format, inputs = 'baked', strength = false }: ExportOptions): void {
  const apart = format === 'onnx_adapter' || (format === 'onnx' && inputs !== 'baked');
  if (!apart && !strength) return;
  const saved = manifest.saved?.find((s) => !isOfHead(manifest, s));
  const reason =
    saved !== undefined
      ? `"${saved.parameter}" is fully trained (modules_to_save)`
      : manifest.layers.some((l) => l.magnitude !== undefined)
        ? 'its layers are weight-decomposed (DoRA)'
        : undefined;
  if (reason === undefined) return;
  const what = strength ? '--strength' : format === 'onnx_adapter' ? '--format onnx_adapter' : `--inputs ${inputs}`;
  throw badOption(
    `${what} requires adapters that consist of branches only, and in this package ${reason}: without the adapter the model would not be the base`,
    'use export --format onnx --inputs baked, --format peft or --format safetensors, or merge',
  );
}
