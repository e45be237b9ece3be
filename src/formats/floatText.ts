/** Decimal text of floats: the shortest text that parses to the same bits, and parsing with a single rounding. */

const scratch = new DataView(new ArrayBuffer(8));

/** Halfway between the largest float32 and 2^128, the point from which rounding gives infinity. */
const float32Overflow = 2 ** 128 - 2 ** 103;
const float32Max = 2 ** 128 - 2 ** 104;

/**
 * The shortest decimal text of a number (already rounded to float32) that parses to it; `inf` and `nan` for non-finite
 * numbers.
 */
export function float32Text(x: number): string {
  if (!Number.isFinite(x)) return specialText(x);
  if (Number.isInteger(x) && Math.abs(x) < 1e6) return wholeText(x);
  let enough = 9;
  // If p digits suffice, p + 1 digits do as well: the nearest decimal only gets nearer.
  for (let tooFew = 0; enough - tooFew > 1; ) {
    const p = (enough + tooFew) >> 1;
    if (float32FromText(x.toPrecision(p)) === x) enough = p;
    else tooFew = p;
  }
  return wholeText(Number(x.toPrecision(enough)));
}

/** The shortest decimal text of a double. */
export function float64Text(x: number): string {
  return Number.isFinite(x) ? wholeText(x) : specialText(x);
}

function specialText(x: number): string {
  return Number.isNaN(x) ? 'nan' : x > 0 ? 'inf' : '-inf';
}

/** Some readers parse a bare `-0` as the integer 0, and long runs of digits as integers that overflow. */
function wholeText(x: number): string {
  if (Object.is(x, -0)) return '-0.0';
  return Math.abs(x) >= 1e16 ? x.toExponential() : String(x);
}

/** A decimal literal as a double; undefined if it is malformed or overflows. */
export function float64FromText(text: string): number | undefined {
  const special = specialFromText(text);
  if (special !== undefined) return special;
  const x = Number(text);
  return Number.isFinite(x) ? x : undefined;
}

/** A decimal literal rounded once, ties to even, to float32; undefined if it is malformed or overflows. */
export function float32FromText(text: string): number | undefined {
  const special = specialFromText(text);
  if (special !== undefined) return special;
  const x = Number(text);
  if (!Number.isFinite(x)) return undefined;
  const f = Math.fround(x);
  if (f === x) return f;
  // The literal was rounded to a double first. That matters only if the double is a tie between two float32 values.
  if (!Number.isFinite(f)) {
    const below = Math.abs(x) === float32Overflow && compareWithDecimal(text, x) * Math.sign(x) < 0;
    return below ? Math.sign(x) * float32Max : undefined;
  }
  const other = neighbour(f, x > f);
  if ((f + other) / 2 !== x) return f;
  const side = compareWithDecimal(text, x);
  return side === 0 ? f : side > 0 ? Math.max(f, other) : Math.min(f, other);
}

function specialFromText(text: string): number | undefined {
  switch (text.toLowerCase()) {
    case 'nan':
    case '-nan':
      return NaN;
    case 'inf':
    case 'infinity':
      return Infinity;
    case '-inf':
    case '-infinity':
      return -Infinity;
    default:
      return undefined;
  }
}

/** The next float32 above or below. */
function neighbour(f: number, above: boolean): number {
  if (f === 0) return above ? 2 ** -149 : -(2 ** -149);
  scratch.setFloat32(0, f);
  scratch.setUint32(0, scratch.getUint32(0) + (f > 0 === above ? 1 : -1));
  return scratch.getFloat32(0);
}

/** Sign of (the decimal's exact value - x). */
function compareWithDecimal(text: string, x: number): number {
  const m = /^(-?)(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$/.exec(text);
  if (m === null) return 0;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = m;
  let left = BigInt(`${whole}${fraction}` || '0') * (sign === '-' ? -1n : 1n);
  const ten = Number(exponent) - fraction.length;
  scratch.setFloat64(0, x);
  const bits = scratch.getBigUint64(0);
  const biased = Number((bits >> 52n) & 0x7ffn);
  let right = (bits & 0xfffffffffffffn) | (biased === 0 ? 0n : 1n << 52n);
  if (x < 0) right = -right;
  const two = Math.max(biased, 1) - 1075;
  if (ten >= 0) left *= 10n ** BigInt(ten);
  else right *= 10n ** BigInt(-ten);
  if (two >= 0) right <<= BigInt(two);
  else left <<= BigInt(-two);
  return left > right ? 1 : left < right ? -1 : 0;
}
