/** Replaces vitest: lists the tests, and runs one alone, with the hooks before it. */
import * as matchers from '@vitest/expect';

/** `before`: hooks that run before each test, so that they run with the mutant. */
export const checks = [];
/** Hooks that run once, at the end, and at the end of the current test. */
export const last = [];
export const finishing = [];

let scope = { name: '', before: [] };

/** The tests of a file; a single one if they depend on one another. */
export async function within(file, together, load) {
  scope = { name: file, before: [] };
  const first = checks.length;
  await load();
  if (!together) return;
  const own = checks.splice(first);
  const done = new Set();
  const run = async () => {
    done.clear();
    for (const check of own) {
      for (const hook of check.before.filter((h) => !done.has(h))) {
        done.add(hook);
        await hook();
      }
      await check.run();
    }
  };
  checks.push({ name: file, before: [], run });
}

export function describe(name, body) {
  const outer = scope;
  scope = { name: `${outer.name} > ${name}`, before: [...outer.before] };
  body();
  scope = outer;
}

export function it(name, ...rest) {
  checks.push({
    name: `${scope.name} > ${name}`,
    before: scope.before,
    run: rest.find((x) => typeof x === 'function'),
  });
}

const none = () => {};
const when = (put) => (condition) => (condition ? put : none);
const each =
  (put) =>
  (rows) =>
  (name, body, ...more) => {
    for (const [i, row] of rows.entries())
      put(`${name} #${i}`, () => (Array.isArray(row) ? body(...row) : body(row)), ...more);
  };
for (const put of [describe, it])
  Object.assign(put, { each: each(put), skip: none, runIf: when(put), skipIf: (condition) => when(put)(!condition) });

export const beforeAll = (run) => scope.before.push(run);
export const beforeEach = beforeAll;
export const afterAll = (run) => last.push(run);
export const onTestFinished = (run) => finishing.push(run);

const { chai } = matchers;
for (const plugin of [matchers.JestExtend, matchers.JestChaiExpect, matchers.JestAsymmetricMatchers]) chai.use(plugin);
chai.expect.extend(chai.expect, matchers.customMatchers);
export const expect = Object.assign((value, message) => chai.expect(value, message), chai.expect, {
  unreachable: (message = 'not to be reached') => chai.assert.fail(message),
});
