/**
 * Prints a model in ONNX's textual syntax with all elements of all tensors, after checking that the text reads back and prints
 * as itself. For scripts/check-print.py. Node 22.18 and later run it as it is:
 *   node scripts/print.ts MODEL.onnx
 */
import { once } from 'node:events';
import { printModelPieces } from '../src/emit/index.ts';
import { parseFile, parseText } from '../src/parser/index.ts';

const { model, source } = parseFile(process.argv[2] ?? '');
const text = [...printModelPieces(model, { full: true })].join('');
const plain = [...printModelPieces(model, { full: true, comments: false })].join('');
const again = [...printModelPieces(parseText(text), { full: true, comments: false })].join('');
source.close();
if (again !== plain) throw new Error('the text does not print as itself after it was read');
if (!process.stdout.write(text)) await once(process.stdout, 'drain');
