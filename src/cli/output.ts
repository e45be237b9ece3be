/** The output of a command: its result on stdout, everything else on stderr. */
import { styleText } from 'node:util';
import { LoraifyError } from '../errors.ts';

export interface Output {
  readonly json: boolean;
  readonly quiet: boolean;
  /** Progress may be drawn and redrawn. */
  readonly live: boolean;
  /** The result: text for people, or with --json `data` as one document. */
  result(text: string, data: unknown): void;
  /** One line of stdout. */
  line(text: string): void;
  /** Progress and remarks on stderr; nothing with --quiet. */
  note(text: string): void;
  warn(text: string): void;
}

/** A mistake on the command line: exit status 2. */
export class UsageError extends Error {
  readonly hint: string;

  /** @param hint the page of help that shows the right usage. */
  constructor(message: string, hint = 'see loraify --help') {
    super(message);
    this.hint = hint;
  }
}

/** The hint at the page of help of a command, by its usage. */
export const helpPage = (usage: string): string => `see loraify ${usage.split(' ')[0]} --help`;

const colour = (stream: NodeJS.WriteStream): boolean => stream.isTTY === true && !process.env.NO_COLOR;

export function createOutput(json: boolean, quiet: boolean): Output {
  const { stdout, stderr } = process;
  const line = (text: string): void => void stdout.write(text.endsWith('\n') ? text : `${text}\n`);
  return {
    json,
    quiet,
    live: stderr.isTTY === true && !quiet,
    line,
    result: (text, data) => line(json ? JSON.stringify(data, undefined, 2) : text),
    note: (text) => void (quiet || stderr.write(`${text}\n`)),
    warn: (text) => void (quiet || stderr.write(`${paint('yellow', 'warning')}: ${text}\n`)),
  };
}

function paint(style: 'red' | 'yellow' | 'cyan', text: string): string {
  return colour(process.stderr) ? styleText(style, text) : text;
}

/** Prints an error; returns the exit status. */
export function report(error: unknown): number {
  const { stderr } = process;
  if (error instanceof LoraifyError) {
    stderr.write(`${paint('red', `error[${error.code}]`)}: ${error.message}\n`);
    const place = [
      ...(error.node === undefined ? [] : [`node "${error.node}"`]),
      ...(error.file === undefined || error.message.includes(error.file) ? [] : [error.file]),
    ];
    if (place.length > 0) stderr.write(`  at ${place.join(' in ')}\n`);
    if (error.where !== undefined) stderr.write(`  ${error.where}\n`);
    stderr.write(`${paint('cyan', 'hint')}: ${error.hint}\n`);
    return 1;
  }
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof UsageError) {
    stderr.write(`${paint('red', 'error')}: ${message}\n${paint('cyan', 'hint')}: ${error.hint}\n`);
    return 2;
  }
  const trace = process.env.LORAIFY_TRACE && error instanceof Error ? `\n${error.stack}` : '';
  stderr.write(`${paint('red', 'error[INTERNAL]')}: ${message}${trace}\n`);
  stderr.write(`${paint('cyan', 'hint')}: this is a defect of loraify; LORAIFY_TRACE=1 shows where it happened\n`);
  return 1;
}
