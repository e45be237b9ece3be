// Part of the build: runs the bundled command line on small models and keeps V8's compiled code, for the Node version
// of the build.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import v8 from 'node:v8';
import { openBundle } from '../dist/cli/bundle.js';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

// Otherwise V8 discards the code of functions that have not run for a while.
v8.setFlagsFromString('--no-flush-bytecode');
const flags = v8.setFlagsFromString;
// V8 rejects code made under other flags: the command must not set its own here.
v8.setFlagsFromString = () => {};

const bundle = openBundle(at('../dist/bin'));
const { main } = bundle.load('main.js');
const folder = mkdtempSync(join(tmpdir(), 'loraify-code-'));
try {
  process.stdout.write = () => true;
  for (const [i, model] of ['peft-pack/base.onnx', 'torch-blocks/encoder/script.onnx'].entries()) {
    const status = await main([at(`../fixtures/${model}`), '-o', join(folder, `${i}`), '--quiet']);
    if (status !== 0) throw new Error(`compiling ${model} ended with ${status}`);
  }
} finally {
  rmSync(folder, { recursive: true });
}
flags('--flush-bytecode');
bundle.save();
