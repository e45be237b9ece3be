import { describe, expect, it } from 'vitest';
import { patternTable } from '../../src/formats/peftPattern.ts';
import { escapePattern, fullMatcher, prefixMatcher } from '../../src/formats/pythonRegex.ts';
import { coded } from '../support/coded.ts';

const texts = [
  'model.layers.3.self_attn.q_proj',
  'model.layers.3.self_attn.k_proj',
  'xx-xx',
  'xx-x',
  'abba',
  'ab',
  'AB',
  'ab\n',
  'a\nb',
  'a\rb',
  'a\u2028b',
  'é',
  'a_1',
  '٣',
  '3',
  '\u00a0',
  '\ufeff',
  '\u001c',
  'aab',
  'ac',
  'abc',
  'ababc',
  'c',
  'a',
  'aa',
  'aaa',
  'aaaa',
  'a{',
  '{a}',
  'a{x}',
  ']a',
  ']',
  'b',
  'a]b-',
  'x.y',
  'éa',
  '\b',
  'a&b',
  '[',
  'Aé😀',
  '\n',
  '\u0000',
  'A',
  'a-b/ c',
  '',
  '\u0007\f\u000b',
  'x.12',
  'É',
  '😀x',
  '😁',
  'h.0.attn',
  'h.12.z.attn',
  'h.2.attn',
  'a}',
  'aaaa\n',
  'a\n',
];

/** What re.fullmatch of CPython 3.11 accepts among the texts. */
const accepted: [pattern: string, texts: string[]][] = [
  [String.raw`.*\.(q|v)_proj`, ['model.layers.3.self_attn.q_proj']],
  [
    String.raw`model\.layers\.\d+\.self_attn\.(?P<n>q|k)_proj`,
    ['model.layers.3.self_attn.q_proj', 'model.layers.3.self_attn.k_proj'],
  ],
  ['(?P<a>x+)-(?P=a)', ['xx-xx']],
  [String.raw`(a)(b)\2\1`, ['abba']],
  [String.raw`\Aab\Z`, ['ab']],
  ['^ab$', ['ab']],
  ['(?i)AB', ['ab', 'AB']],
  ['(?s)a.b', ['a\nb', 'a\rb', 'a\u2028b', 'aab', 'a&b']],
  ['a.b', ['a\rb', 'a\u2028b', 'aab', 'a&b']],
  [String.raw`(?m)a$\n^b`, ['a\nb']],
  ['(?x) a  b # comment', ['ab']],
  [
    String.raw`\w+`,
    [
      'abba',
      'ab',
      'AB',
      'é',
      'a_1',
      '٣',
      '3',
      'aab',
      'ac',
      'abc',
      'ababc',
      'c',
      'a',
      'aa',
      'aaa',
      'aaaa',
      'b',
      'éa',
      'A',
      'É',
    ],
  ],
  [
    String.raw`(?a)\w+`,
    ['abba', 'ab', 'AB', 'a_1', '3', 'aab', 'ac', 'abc', 'ababc', 'c', 'a', 'aa', 'aaa', 'aaaa', 'b', 'A'],
  ],
  [String.raw`\d`, ['٣', '3']],
  [String.raw`\s`, ['\u00a0', '\u001c', '\n']],
  [String.raw`\bab\b`, ['ab']],
  [String.raw`a\Bb`, ['ab']],
  ['a++b', ['ab', 'aab']],
  ['a++a', []],
  ['(?>a|ab)c', ['ac']],
  ['(?>ab|a)c', ['ac', 'abc']],
  ['(?:ab)*+c', ['abc', 'ababc', 'c']],
  ['a{2,3}', ['aa', 'aaa']],
  ['a{,2}', ['a', 'aa', '']],
  ['a{', ['a{']],
  ['{a}', ['{a}']],
  ['a{x}', ['a{x}']],
  ['[]a]+', ['a', 'aa', 'aaa', 'aaaa', ']a', ']']],
  ['[^]a]', ['é', '٣', '3', '\u00a0', '\ufeff', '\u001c', 'c', 'b', '\b', '[', '\n', '\u0000', 'A', 'É', '😁']],
  [String.raw`[a\]b-]+`, ['abba', 'ab', 'aab', 'a', 'aa', 'aaa', 'aaaa', ']a', ']', 'b', 'a]b-']],
  [
    String.raw`[\w.]+`,
    [
      'model.layers.3.self_attn.q_proj',
      'model.layers.3.self_attn.k_proj',
      'abba',
      'ab',
      'AB',
      'é',
      'a_1',
      '٣',
      '3',
      'aab',
      'ac',
      'abc',
      'ababc',
      'c',
      'a',
      'aa',
      'aaa',
      'aaaa',
      'b',
      'x.y',
      'éa',
      'A',
      'x.12',
      'É',
      'h.0.attn',
      'h.12.z.attn',
      'h.2.attn',
    ],
  ],
  [
    String.raw`[^\W\d]+`,
    ['abba', 'ab', 'AB', 'é', 'aab', 'ac', 'abc', 'ababc', 'c', 'a', 'aa', 'aaa', 'aaaa', 'b', 'éa', 'A', 'É'],
  ],
  [String.raw`[\b]`, ['\b']],
  ['[a&&b]+', ['abba', 'ab', 'aab', 'a', 'aa', 'aaa', 'aaaa', 'b', 'a&b']],
  ['[[]', ['[']],
  [String.raw`\x41\u00e9\U0001F600`, ['Aé😀']],
  [String.raw`\012`, ['\n']],
  [String.raw`\0`, ['\u0000']],
  [String.raw`\101`, ['A']],
  [String.raw`a\-b\/\ c`, ['a-b/ c']],
  ['(?=a)a', ['a']],
  ['a(?!b).', ['ac', 'aa', 'a{', 'a}']],
  ['(?<=a)b|ab', ['ab']],
  ['(?<!a)b', ['b']],
  ['', ['']],
  ['a|', ['a', '']],
  ['(?:a|b)+?', ['abba', 'ab', 'aab', 'a', 'aa', 'aaa', 'aaaa', 'b']],
  ['(?#note)ab', ['ab']],
  [String.raw`\a\f\v`, ['\u0007\f\u000b']],
  ['(?s:a.)b.', ['abba', 'a]b-']],
  ['(?-s:a.)', ['ab', 'ac', 'aa', 'a{', 'a}']],
  ['a*?b', ['ab', 'aab', 'b']],
  [String.raw`.\.\d+`, ['x.12']],
  ['(?i)é', ['é', 'É']],
  ['😀.', ['😀x']],
  ['[😀-😂]', ['😁']],
  [String.raw`h\.(0|1[0-9]?)\..*attn`, ['h.0.attn', 'h.12.z.attn']],
  ['(?P<x>a)|b', ['a', 'b']],
  ['a]', []],
  ['a}', ['a}']],
  [String.raw`(?:(a)\1)+`, ['aa', 'aaaa']],
  ['a$', ['a']],
];

describe('Python patterns', () => {
  it.each(accepted)('%s matches in full what it matches in Python', (pattern, expected) => {
    const match = fullMatcher(pattern, 'target');
    expect(texts.filter(match)).toEqual(expected);
  });

  it('match at the beginning, with named groups', () => {
    const match = prefixMatcher(String.raw`.*?\.[^.]*\.(?P<idx>\d+)\.`, 'x');
    expect(match('model.layers.12.experts.3.w')?.groups?.idx).toBe('12');
    expect(match('layers.12.w')).toBeNull();
  });

  it.each([
    ['(?(1)a|b)', 'conditional'],
    [String.raw`(a)?\1`, 'may be unset'],
    [String.raw`(a)|\1`, 'may be unset'],
    [String.raw`(?:(a)|b\1)+`, 'may be unset'],
    [String.raw`(?:(a)|b){2}\1`, 'may be unset'],
    [String.raw`(?!(a))\1`, 'may be unset'],
    [String.raw`(a\1)`, 'no closed group'],
    ['(?i:a)', 'flag i'],
    ['(?i)(?-i:a)', 'flag i'],
    [String.raw`\N{BULLET}`, String.raw`\N`],
    ['a**', 'quantifier'],
    ['*a', 'nothing to repeat'],
    ['^*', 'nothing to repeat'],
    ['a|*', 'nothing to repeat'],
    ['(a', ') is missing'],
    ['a)', 'has no ('],
    ['[a', '] is missing'],
    ['[a-', '] is missing'],
    [String.raw`\q`, String.raw`\q`],
    ['\\', 'backslash'],
    [String.raw`\2`, 'no closed group 2'],
    ['(?P<1a>b)', 'not a group name'],
    ['(?P<a>b)(?P<a>c)', 'two groups'],
    ['(?P<a', '> is missing'],
    ['(?P=no)', 'no closed group "no"'],
    ['a(?i)b', 'beginning'],
    ['(?L)a', 'bytes'],
    ['[z-a]', 'range'],
    [String.raw`[\d-z]`, 'range'],
    ['(?P>x)', 'not supported'],
    ['(?', 'not supported'],
    ['a{3,2}', ''],
    [String.raw`\U00110000`, 'U+10FFFF'],
    ['(a)++', 'possessive'],
  ])('%s is refused', (pattern, reason) => {
    expect(() => fullMatcher(pattern, 'target_modules')).toThrow(
      expect.toSatisfy(coded('BAD_PATTERN', 'target_modules', pattern, reason)),
    );
  });

  it('escapes any text so that only it matches', () => {
    for (const text of [...texts, 'a.b', 'x*y+z?', '(a)[b]{c}', 'a|b^$', 'back\\slash', '-#/~&']) {
      const match = fullMatcher(escapePattern(text), 'x');
      expect(match(text)).toBe(true);
      expect(match(`${text}.`)).toBe(false);
    }
  });
});

describe('patternTable', () => {
  const look = (...patterns: [string, number][]) => patternTable(new Map(patterns), 'rank_pattern');

  it('takes the first key that matches the end of the path behind a dot', () => {
    const rank = look(['q_proj', 1], [String.raw`layers\.0\..*`, 2], ['k_proj|v_proj', 3]);
    expect(rank('m.layers.0.q_proj')).toBe(1);
    expect(rank('m.layers.0.k_proj')).toBe(2);
    expect(rank('m.layers.1.v_proj')).toBe(3);
    expect(rank('k_proj')).toBe(3);
    expect(rank('m.xq_proj')).toBeUndefined();
    expect(rank('q_proj.m')).toBeUndefined();
  });

  it('knows anchored keys and keys that are only literally the path', () => {
    expect(look([String.raw`^a\.b`, 1])('a.b')).toBe(1);
    expect(look([String.raw`^a\.b`, 1])('x.a.b')).toBeUndefined();
    expect(look(['a+b', 7])('a+b')).toBe(7);
  });
});
