/**
 * Messages -> wire bytes, written from the end to the front, so that the length of a message is known when it is due and nothing is
 * moved. protobufjs makes a function for each kind of message when the first one is encoded, which a command that writes six files
 * pays for in full; it stays the reader, and the tests' witness.
 */
import Long from 'long';
import { type MessageName, messages, type ProtoInit } from './schema.ts';

interface Field {
  readonly name: string;
  /** Number and wire type. */
  readonly tag: number;
  readonly type: string;
  readonly repeated: boolean;
  /** The fields of a message. */
  readonly plan: Plan | undefined;
}

/** The last field on the wire first. */
type Plan = Field[];

const wireTypes: Readonly<Record<string, number>> = { int32: 0, uint32: 0, int64: 0, float: 5 };

const plans: ReadonlyMap<string, Plan> = makePlans();

function makePlans(): Map<string, Plan> {
  const made = new Map(Object.keys(messages).map((name): [string, Plan] => [name, []]));
  for (const [message, fields] of Object.entries(messages)) {
    const plan = made.get(message);
    for (const [name, [id, of]] of Object.entries(fields)) {
      const repeated = of.endsWith('[]');
      const type = repeated ? of.slice(0, -2) : of;
      plan?.push({ name, tag: (id << 3) | (wireTypes[type] ?? 2), type, repeated, plan: made.get(type) });
    }
    plan?.sort((a, b) => b.tag - a.tag);
  }
  return made;
}

/** Filled from its end. Used again and again; as large as the largest message so far. */
let buffer = Buffer.allocUnsafeSlow(1 << 16);
/** How much of it is. */
let size = 0;

/** The wire bytes of a message: its fields in the order of their numbers, then `$unknowns`. */
export function encodeMessage<N extends MessageName>(name: N, message: ProtoInit<N>): Uint8Array<ArrayBuffer> {
  size = 0;
  writeMessage(plans.get(name) ?? [], message);
  return new Uint8Array(buffer.subarray(buffer.length - size));
}

function writeMessage(plan: Plan, message: object): void {
  // A decoded message has what it lacks in its prototype; a copy has its own fields alone.
  const values: Readonly<Record<string, unknown>> = { ...message };
  const unknowns = values.$unknowns;
  if (Array.isArray(unknowns)) for (let i = unknowns.length - 1; i >= 0; i--) writeBytes(unknowns[i]);
  for (let f = 0; f < plan.length; f++) {
    const field = plan[f];
    const value = field === undefined ? undefined : values[field.name];
    if (field === undefined || value === undefined || value === null) continue;
    if (!field.repeated) writeField(field, value);
    else if (Array.isArray(value)) for (let i = value.length - 1; i >= 0; i--) writeField(field, value[i]);
  }
}

function writeField({ name, tag, type, plan }: Field, value: unknown): void {
  const before = size;
  if (typeof value === 'string' && type === 'string') {
    writeString(value);
    writeVarint(size - before);
  } else if (plan !== undefined && typeof value === 'object' && value !== null) {
    writeMessage(plan, value);
    writeVarint(size - before);
  } else if (value instanceof Uint8Array && type === 'bytes') {
    writeBytes(value);
    writeVarint(value.length);
  } else if (Long.isLong(value) && type === 'int64') writeLong(value);
  else if (typeof value === 'number' && type === 'float') {
    reserve(4);
    buffer.writeFloatLE(value, buffer.length - size);
  } else if (typeof value === 'number' && (type === 'uint32' || (type === 'int32' && value >= 0))) writeVarint(value);
  else if (typeof value === 'number' && type === 'int32') writeLong(Long.fromNumber(value));
  else throw new Error(`${name} is no ${type}`);
  writeVarint(tag);
}

/** Makes room for so many bytes in front of what is written, and counts them as written. */
function reserve(bytes: number): void {
  if (size + bytes > buffer.length) {
    const larger = Buffer.allocUnsafeSlow(Math.max(2 * buffer.length, size + bytes));
    buffer.copy(larger, larger.length - size, buffer.length - size);
    buffer = larger;
  }
  size += bytes;
}

function writeBytes(bytes: Uint8Array): void {
  reserve(bytes.length);
  buffer.set(bytes, buffer.length - size);
}

/** A uint32. */
function writeVarint(value: number): void {
  reserve(value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : value < 0x10000000 ? 4 : 5);
  let to = buffer.length - size;
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) buffer[to++] = (rest & 0x7f) | 0x80;
  buffer[to] = rest;
}

/** As protobuf writes int64 and negative int32: two's complement. */
function writeLong(value: Long): void {
  if (value.high === 0) {
    writeVarint(value.low >>> 0);
    return;
  }
  const bytes: number[] = [];
  let rest = value.toUnsigned();
  for (; rest.high !== 0 || rest.low >>> 0 >= 0x80; rest = rest.shiftRightUnsigned(7)) bytes.push((rest.low & 0x7f) | 0x80);
  bytes.push(rest.low);
  writeBytes(Uint8Array.from(bytes));
}

/** Where calls into Node cost more than a loop. */
const short = 40;

function writeString(text: string): void {
  if (text.length < short && writeAscii(text)) return;
  const bytes = Buffer.byteLength(text);
  reserve(bytes);
  buffer.write(text, buffer.length - size, bytes, 'utf8');
}

function writeAscii(text: string): boolean {
  const before = size;
  reserve(text.length);
  for (let i = 0, to = buffer.length - size; i < text.length; i++, to++) {
    const code = text.charCodeAt(i);
    if (code >= 0x80) {
      size = before;
      return false;
    }
    buffer[to] = code;
  }
  return true;
}
