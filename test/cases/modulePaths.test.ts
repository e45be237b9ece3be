import { expect, it } from 'vitest';
import { z } from 'zod';
import { caseFolder } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';

const inspected = z.object({ layers: z.array(z.object({ path: z.string() })) });

it('sequential-path-ts: the paths of layers in an nn.Sequential are those of PEFT', async () => {
  const cwd = caseFolder('sequential-path-ts');
  const { stdout } = await loraify(['inspect', 'model.onnx', '--json'], { cwd });
  const paths = inspected.parse(JSON.parse(stdout)).layers.map((l) => l.path);
  expect(paths.sort()).toEqual(['ffn.0', 'ffn.2', 'head', 'proj']);
  const { status, stderr } = await loraify(['model.onnx', '--adapter', 'adapter', '-o', 'x.lora'], { cwd });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
