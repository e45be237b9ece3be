#!/usr/bin/env node
import * as nodeModule from 'node:module';

// From Node 22 on: compiled code is kept between runs.
if ('enableCompileCache' in nodeModule && typeof nodeModule.enableCompileCache === 'function')
  nodeModule.enableCompileCache();
const { main } = await import('./main.ts');
process.exitCode = await main(process.argv.slice(2));
