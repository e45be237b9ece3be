/** Strings of a Python list literal; [] for anything else. */
export function pythonList(text: string | undefined): string[] {
  if (text === undefined || !/^\s*\[.*\]\s*$/s.test(text)) return [];
  return [...text.matchAll(/'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"/gs)].map((m) => m[1] ?? m[2] ?? '');
}
