/** Setup of the project `unit`: its tests run src/ alone, so that a build of older sources cannot decide one of them. */
import { vi } from 'vitest';

vi.mock('../../src/formats/compiled.ts', () => ({
  compiledFile: (_from: string, name: string): never => {
    throw new Error(`${name}.js of dist/ was started: the test belongs to the project \`system\` of vitest.config.ts`);
  },
}));
