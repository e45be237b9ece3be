import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import {
  adapters,
  camel,
  choice,
  choices,
  flag,
  integers,
  kebab,
  list,
  number,
  pair,
  required,
  table,
  text,
} from '../../src/cli/options.ts';

import { temporaryFolder } from '../support/temporaryFolder.ts';

const help = { describe: 'x' };
const letters = { a: { help: 'the first' }, b: { help: 'the second' } };
const shape = z.object({
  list: list(help),
  table: table(help),
  number: number(help),
  pair: pair(help),
  flag: flag(help),
  text: text(help),
  integers: integers(help),
  choice: choice(letters, help),
  choices: choices(letters, help),
  adapters: adapters(help),
});
const parse = (given: Readonly<Record<string, unknown>>): unknown => shape.parse(given);

it.each([
  ['a,b', ['a', 'b']],
  [
    ['a,b', 'c'],
    ['a', 'b', 'c'],
  ],
  ['/layer\\.(1|2){1,2}/,b', ['/layer\\.(1|2){1,2}/', 'b']],
  ['a,/x,y/', ['a', '/x,y/']],
  ['/a', ['/a']],
  ['a,,b,', ['a', 'b']],
])('splits the list %o', (given, wanted) => {
  expect(parse({ list: given })).toEqual({ list: wanted });
});

it.each([
  ['a=4', { a: 4 }],
  ['a=4,b.c=2', { a: 4, 'b.c': 2 }],
  ['x=y=4', { 'x=y': 4 }],
  [['a=4', 'b=8'], { a: 4, b: 8 }],
  ['a{1,2}=4,b=1', { 'a{1,2}': 4, b: 1 }],
  [{ 'a.b': 4 }, { 'a.b': 4 }],
])('reads the table %o', (given, wanted) => {
  expect(parse({ table: given })).toEqual({ table: wanted });
});

it.each([
  ['run/adapter', 'run/adapter'],
  ['a=0.7,b=-.3', { a: 0.7, b: -0.3 }],
  ['a,b=2', { a: 1, b: 2 }],
  [['a=1e-2', 'lr=0.1/b'], { a: 0.01, 'lr=0.1/b': 1 }],
  ['lr=0.1=3', { 'lr=0.1': 3 }],
  [{ 'a,b': 2 }, { 'a,b': 2 }],
])('reads the adapters %o', (given, wanted) => {
  expect(parse({ adapters: given })).toEqual({ adapters: wanted });
});

it('takes an adapter that exists as it is called', () => {
  const folder = join(temporaryFolder(), 'lr=0.1,b');
  mkdirSync(folder);
  expect(parse({ adapters: folder })).toEqual({ adapters: folder });
  expect(parse({ adapters: `${folder}=0.5` })).toEqual({ adapters: { [folder]: 0.5 } });
  expect(parse({ adapters: [folder, 'x=2'] })).toEqual({ adapters: { [folder]: 1, x: 2 } });
});

it('takes values of config files as they are, and the last of flags given twice', () => {
  expect(parse({ number: 3, list: ['a'], flag: false, integers: [1, 2], choices: ['a', 'b'] })).toEqual({
    number: 3,
    list: ['a'],
    flag: false,
    integers: [1, 2],
    choices: ['a', 'b'],
  });
  expect(parse({ number: ['1', '2'], text: ['a', 'b'], flag: [true, false] })).toEqual({
    number: 2,
    text: 'b',
    flag: false,
  });
  expect(parse({ number: '-1e-3', pair: '0.9,0.99' })).toEqual({ number: -0.001, pair: [0.9, 0.99] });
});

it.each([
  { number: 'x' },
  { number: '' },
  { number: true },
  { pair: '1' },
  { pair: '1,2,3' },
  { table: 'a' },
  { table: 'a=b' },
  { table: '=3' },
  { integers: '1,2.5' },
  { choice: 'c' },
  { choices: 'a,c' },
  { flag: 'yes' },
  { text: '' },
  { adapters: '' },
  { adapters: 'a=1,a=2' },
  { adapters: { a: 'x' } },
])('refuses %o', (given) => {
  expect(shape.safeParse(given).success).toBe(false);
});

it('asks for what is required', () => {
  const schema = z.object({ data: required(help) });
  expect(schema.parse({ data: 'x' })).toEqual({ data: 'x' });
  expect(schema.safeParse({}).error?.issues[0]?.message).toBe('is missing');
});

it('turns names of options into flags and back', () => {
  expect(kebab('evalEvery')).toBe('eval-every');
  expect(camel('eval-every')).toBe('evalEvery');
});
