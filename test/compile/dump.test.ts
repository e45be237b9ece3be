/** `--dump` and `--timings`: one file and one row for every pass that ran, named by it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compile, type CompileOptions } from '../../src/index.ts';
import { parseText } from '../../src/parser/index.ts';
import { stages } from '../../src/passes/index.ts';
import { writeDigits } from '../support/digits.ts';
import { temporaryFolder } from '../support/temporaryFolder.ts';
