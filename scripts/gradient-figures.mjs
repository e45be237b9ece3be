// `npm run figures`: runs the numeric gradient checks and records in docs/reference/operators.md what they found, by operator.
// `npm run figures -- Inverse Gelu` does it for these operators alone, by name or by key (com.microsoft.Gelu).
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createViteServer } from 'vitest/node';
import { figuresOf, operatorsFile, operatorsPage } from './operators-doc.mjs';

// The rules and the tests as they are in src/ and test/: nothing has to be built first.
const server = await createViteServer({
  root: fileURLToPath(new URL('..', import.meta.url)),
  configFile: false,
  appType: 'custom',
  logLevel: 'error',
  optimizeDeps: { noDiscovery: true },
  server: { middlewareMode: true, watch: null },
});
try {
  const names = process.argv.slice(2);
  const { measure } = await server.ssrLoadModule('/test/support/gradients/checks.ts');
  const { operatorStates } = await server.ssrLoadModule('/src/passes/index.ts');
  const measured = await measure(names);
  for (const [op, { cases, error }] of measured) console.log(`${op}: ${cases} cases, error ${error.toExponential(0)}`);
  const recorded = names.length === 0 ? [] : figuresOf(readFileSync(operatorsFile, 'utf8'));
  writeFileSync(operatorsFile, operatorsPage(operatorStates(), new Map([...recorded, ...measured])));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  await server.close();
}
