import { defineConfig } from 'vitest/config';

/** The file for the results that .ci/run reads; the terminal keeps the default report. */
const report = process.env.TEST_REPORT;

/** Tests that start dist/ in threads and processes of their own. All others load src/ and run without a build. */
const system = [
  'test/{cases,cli,compile,docs,models,package,runtime}/**/*.test.ts',
  'test/adapter/bundled.test.ts',
  'test/emit/copying.test.ts',
];

export default defineConfig({
  test: {
    pool: 'forks',
    // Graphs are verified after every pass, so that a broken one is reported with the pass that made it.
    env: { LORAIFY_VERIFY: '1' },
    testTimeout: 120_000,
    hookTimeout: 120_000,
    reporters: report === undefined ? ['default'] : ['default', ['json', { outputFile: report }]],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: system,
          setupFiles: ['test/support/withoutBuild.ts'],
        },
      },
      {
        extends: true,
        test: { name: 'system', include: system, globalSetup: ['test/support/freshBuild.ts'] },
      },
    ],
  },
});
