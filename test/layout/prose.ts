/** The rules of prose.test.ts for comments and messages, and the folders that they hold for. */

/** Words that a comment must not start with: the subject of the sentence is missing. */
export const firstWords: ReadonlySet<string> = new Set([
  'Of',
  'By',
  'To',
  'What',
  'Who',
  'Whose',
  'Where',
  'How',
  'Why',
]);

/** A banned word, the replacement, and examples of the wrong use (which test the pattern). */
export interface Banned {
  readonly word: RegExp;
  readonly instead: string;
  readonly example: string;
}

/** Words that personify values and nodes, or that are not the field's terms. */
export const banned: readonly Banned[] = [
  {
    word: /\b(who|whoever|whom)\b/i,
    instead: 'the reader, the caller, the user',
    example: 'a cast for who needs that',
  },
  { word: /\b(some|no|any)body\b/i, instead: 'the passive, or the actual subject', example: 'nobody reads it' },
  { word: /\bsays?\b(?! (for|what to do))/i, instead: 'declares, gives, states', example: 'the node says its type' },
  { word: /\bsaid\b/i, instead: 'declared, given', example: 'what is said about a value' },
  { word: /\btold\b/i, instead: 'given, passed', example: 'the rule is told the type' },
  { word: /\b(wants|asks)\b/i, instead: 'needs, requires', example: 'a graph asks for it' },
  { word: /\basked for\b/i, instead: 'requested, selected', example: 'the output that was asked for' },
  { word: /\bstands\b/i, instead: 'is (at, in, before)', example: 'where the node stands' },
  { word: /\b(goes|went)\b/i, instead: 'is removed, is moved, is passed', example: 'the marker goes again' },
  { word: /\blies\b/i, instead: 'is (at, in); has the layout', example: 'the weight lies as [out, in]' },
  { word: /\bknows\b/i, instead: 'has, supports; is known', example: 'the graph knows the length' },
  { word: /\bcarries\b|(?<!loop-)\bcarried\b/i, instead: 'passes on, has', example: 'the node carries a gradient' },
  { word: /\bhand(s|ed)? (out|on|over)\b/i, instead: 'outputs, passes on', example: 'the body hands out its state' },
  {
    word: /(?<!there )\b(is|are|was|were) no (?!longer|more|better)[a-z]+/i,
    instead: 'is not a …',
    example: 'it is no class',
  },
  { word: /(?<!-)\bturned\b(?!-)/i, instead: 'transposed, rotated, converted', example: 'the turned weight' },
  { word: /\bhalf types?\b/i, instead: 'half precision', example: 'a value of a half type' },
  { word: /\btrained (itself|themselves)\b/i, instead: 'modules_to_save', example: 'a weight that is trained itself' },
  { word: /\bfresh (array|matrix|one)/i, instead: 'new', example: 'a fresh array' },
  { word: /\bin the place of\b/i, instead: 'instead of; replaces', example: 'in the place of the node' },
];

/** Folders and files that do not follow the rules yet. */
export const notYet: readonly string[] = ['test/'];
