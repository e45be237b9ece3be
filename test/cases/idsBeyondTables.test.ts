/** Ids that a table of the model has no entry for are refused before they run. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { caseFolder } from '../support/caseFolder.ts';
import { loraify } from '../support/runCli.ts';

const row = (ids: readonly number[], types: readonly number[], labels = 1): string =>
  `${JSON.stringify({ input_ids: ids, token_type_ids: types, labels })}\n`;
const good = row([1, 10, 0], [0, 1, 0]);

// The layer that is adapted does not matter: the head, or the tables themselves.
describe.each(['f', 'e,t'])('ids with adapted layers %s', (target) => {
  let cwd = '';
  beforeAll(async () => {
    cwd = caseFolder('ids-beyond-tables');
    const { status, stderr } = await loraify(['model.onnx', '-r', '2', '--target', target, '-o', 'p'], { cwd });
    expect(status, stderr).toBe(0);
  });
  const evaluated = (text: string, ...more: string[]): ReturnType<typeof loraify> => {
    writeFileSync(join(cwd, 'rows.jsonl'), text);
    return loraify(['eval', 'p', '--data', 'rows.jsonl', ...more], { cwd });
  };

  it('the last entry is accepted', async () => {
    expect((await evaluated(good)).status).toBe(0);
  });

  it.each([
    [good + row([1, 11, 3], [0, 1, 0]), 'line 2: "input_ids"[1]: 11 is outside the table "e.weight", which has 11'],
    [row([1, 2, -1], [0, 1, 0]), 'line 1: "input_ids"[2]: -1 is outside the table "e.weight", which has 11'],
    [row([1, 2, 3], [2, 1, 0]), 'line 1: "token_type_ids"[0]: 2 is outside the table "t.weight", which has 2'],
    [row([1, 2, 3], [0, 1, 0], 3), 'line 1: "labels": 3 is out of range: classes are 0 to 2'],
  ])('%j is refused', async (text, message) => {
    const { status, stderr } = await evaluated(text);
    expect(status).not.toBe(0);
    expect(stderr).toContain('error[BAD_DATA]');
    expect(stderr).toContain(message);
    const trained = await loraify(['train', 'p', '--data', 'rows.jsonl', '--steps', '1', '-o', 'run'], { cwd });
    expect(trained.stderr).toContain(message);
    expect(existsSync(join(cwd, 'run'))).toBe(false);
  });

  it('padding with such an id is refused', async () => {
    const { stderr } = await evaluated(good, '--pad', 'input_ids=11');
    expect(stderr).toContain('--pad input_ids=11: 11 is outside the table');
  });
});
