/** Loss and gradient of a package's grad.onnx for its initial adapter. */
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { type Manifest, readManifest } from '../../src/formats/manifest.ts';
import { readNpz } from '../../src/formats/npz.ts';
import { elements } from '../../src/formats/rawTensor.ts';
import { adapterParams } from '../../src/package/adapters.ts';
import { floats } from './executeGraphs.ts';

export interface PackageGradient {
  readonly manifest: Manifest;
  readonly loss: number;
  readonly gradient: Float32Array;
  readonly norm: number;
}

/** The arrays of an .npz as feeds; int64 and float32 are enough for the cases. */
export function npzFeeds(file: string): Record<string, Tensor> {
  return Object.fromEntries(
    [...readNpz(file)].map(([name, raw]) => {
      const data = elements(raw);
      return [
        name,
        data instanceof BigInt64Array
          ? new Tensor('int64', data, [...raw.shape])
          : new Tensor('float32', Float32Array.from(data, Number), [...raw.shape]),
      ];
    }),
  );
}

export async function packageGradient(dir: string, batch: string): Promise<PackageGradient> {
  const manifest = readManifest(dir);
  const session = await InferenceSession.create(join(dir, 'grad.onnx'));
  const params = adapterParams(dir, manifest, {});
  const all = { ...npzFeeds(batch), lora_params: new Tensor('float32', params, [params.length]) };
  const feeds = Object.fromEntries(Object.entries(all).filter(([name]) => session.inputNames.includes(name)));
  const out = await session.run(feeds);
  const gradient = floats(out.lora_grad);
  return { manifest, loss: floats(out.loss)[0] ?? Number.NaN, gradient, norm: Math.hypot(...gradient) };
}

/** The named output of a model for the arrays of a batch. */
export async function outputOf(file: string, batch: string, name: string): Promise<Float32Array> {
  const session = await InferenceSession.create(file);
  const feeds = Object.entries(npzFeeds(batch)).filter(([input]) => session.inputNames.includes(input));
  return floats((await session.run(Object.fromEntries(feeds)))[name]);
}
