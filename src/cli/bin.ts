#!/usr/bin/env node
import * as nodeModule from 'node:module';
import { hasCode, openBundle } from './bundle.ts';

type Main = typeof import('./main.ts').main;

async function loadMain(): Promise<Main> {
  const folder = import.meta.dirname;
  const loaded = hasCode(folder) ? openBundle(folder).load('main.js') : undefined;
  if (isMain(loaded)) return loaded.main;
  // From Node 22 on: compiled code is kept between runs.
  if ('enableCompileCache' in nodeModule && typeof nodeModule.enableCompileCache === 'function')
    nodeModule.enableCompileCache();
  return (await import('./main.ts')).main;
}

const isMain = (loaded: unknown): loaded is { readonly main: Main } =>
  typeof loaded === 'object' && loaded !== null && 'main' in loaded && typeof loaded.main === 'function';

void loadMain().then(async (main) => {
  process.exitCode = await main(process.argv.slice(2));
});
