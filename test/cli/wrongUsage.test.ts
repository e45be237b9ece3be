import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { commands, globalOptions } from '../../src/cli/commands/index.ts';
import { nameOf } from '../../src/cli/help.ts';
import { main } from '../../src/cli/main.ts';
import { camel, kebab } from '../../src/cli/options.ts';

let written = '';
beforeEach(() => {
  written = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    written += String(text);
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  // Each run of main listens once more.
  for (const event of ['SIGINT', 'SIGTERM']) process.removeAllListeners(event);
  process.stdout.removeAllListeners('error');
});

async function refused(...args: readonly string[]): Promise<string> {
  written = '';
  process.setMaxListeners(200);
  process.stdout.setMaxListeners(200);
  expect(await main(args)).toBe(2);
  return written;
}

/** A name with one letter left out, doubled, replaced, or changed in place with the next. */
const misspelt = (name: string) =>
  fc.tuple(fc.nat(name.length - 1), fc.constantFrom('drop', 'double', 'replace', 'swap')).map(([at, how]) => {
    const [before, letter, after] = [name.slice(0, at), name[at] ?? '', name.slice(at + 1)];
    if (how === 'drop') return before + after;
    if (how === 'double') return before + letter + letter + after;
    if (how === 'replace') return `${before}${letter === 'q' ? 'z' : 'q'}${after}`;
    return before + after.slice(0, 1) + letter + after.slice(1);
  });

const options = commands.flatMap((command) =>
  [...command.options, ...globalOptions]
    .filter((option) => option.positional !== true)
    .map((option) => ({ command, name: kebab(option.name) })),
);
const known = new Set(options.flatMap(({ name }) => [name, `no-${name}`]));

describe('a misspelt option', () => {
  it('of any command is refused with the nearest name, before anything is read', async () => {
    const draw = fc.constantFrom(...options).chain((of) => misspelt(of.name).map((given) => ({ ...of, given })));
    await fc.assert(
      fc.asyncProperty(draw, async ({ command, name, given }) => {
        fc.pre(
          given.length > 1 && !given.startsWith('-') && !given.startsWith('no-') && !known.has(kebab(camel(given))),
        );
        const text = await refused(nameOf(command), 'x', `--${given}`, '1');
        expect(text).toContain(`${nameOf(command)} has no option --${given}`);
        if (name.length > 3) expect(text).toContain(`"--${name}"`);
        expect(text).toContain(`hint: see loraify ${nameOf(command)} --help`);
      }),
      { numRuns: 150 },
    );
  });
});

describe('wrong usage', () => {
  it.each([
    [['trian', 'digits.lora'], 'there is no command "trian", did you mean "train"?'],
    [['train'], 'train needs package (package directory)'],
    [['train', 'x'], '--data is missing'],
    [['train', 'x', '--data'], '--data needs a value'],
    [['eval', 'x', '--data', 'y', 'z'], '"z" is one argument too many; lists are separated by commas, not blanks'],
    [['model.onnx', '--target', 'a', 'b'], '"b" is one argument too many'],
    [['merge', 'x', '-x', '3'], 'merge has no option -x'],
    [['train', 'x', '--data', 'y', '--no-shufle'], 'train has no option --shufle, did you mean "--shuffle"?'],
  ])('%j', async (args, text) => {
    const said = await refused(...args);
    expect(said).toContain(text);
    expect(said).toMatch(/\nhint: see loraify (?:\w+ )?--help\n$/);
  });
});
