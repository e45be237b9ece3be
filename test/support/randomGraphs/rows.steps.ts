/** Operators that no other file draws: the forms of their numeric rows, on values of the graph. */
import { allRows } from '../../gradients/all.rows.ts';
import { exceptions } from '../gradients/checks.ts';
import { type Arg, type Case, type Data, dataOf } from '../gradients/harness.ts';
import { hasEmptyInput } from '../gradients/tables.ts';
import type { Draft, Entry } from './draft.ts';
import type { Step } from './step.ts';

/** Rows that keep a graph small, say nothing of shapes that has to be known, and give a value that can be read as a loss. */
const isDrawn = (row: Case): boolean =>
  row.refused === undefined &&
  row.dtype !== 'float16' &&
  row.modes === undefined &&
  row.skip === undefined &&
  !(row.loss ?? [0]).some((i) => i > 0) &&
  !hasEmptyInput(row) &&
  row.in.every((a) => a === undefined || (a.kind !== 'uint8' && a.shape.reduce((n, d) => n * d, 1) <= 256));

/** A value of the row's shape whose elements stay within 0.03 of the row's own, which lie where the operator is smooth. */
function near(d: Draft, { shape }: Arg, { values }: Data): Entry['value'] {
  const e = d.pick(
    (v) => v.shape.join() === shape.join(),
    () => shape,
  );
  return d.g.Add(d.scaled(e, 0.03).value, d.constant(shape, values.map(Math.fround)));
}

function operand(d: Draft, arg: Arg | undefined, data: Data | undefined): Entry['value'] | undefined {
  if (arg === undefined || data === undefined) return undefined;
  const { kind, shape } = arg;
  if (kind === 'float') return arg.fixed ? d.constant(shape, data.values.map(Math.fround)) : near(d, arg, data);
  if (arg.fixed || kind === 'uint8') return d.g.constant(data.type, shape, data.values);
  return d.whole(data.values, shape, { type: kind, sized: arg.sized === true });
}

const opsetOf = (row: Case): number => row.opset ?? 18;

/** A step that takes any of these rows, all of one operator. */
function stepOf(op: Case['op'], rows: readonly Case[]): Step {
  const at = op.lastIndexOf('.');
  return {
    ops: [op],
    ...(rows.every((row) => row.dtype === 'float32') ? { only: 'float32' } : {}),
    since: Math.min(...rows.map(opsetOf)),
    before: exceptions[op]?.before ?? Number.POSITIVE_INFINITY,
    make: (d) => {
      const [first, ...more] = rows.filter(
        (r) => opsetOf(r) <= d.opset && (r.dtype !== 'float32' || d.type === 'float32'),
      );
      if (first === undefined) return;
      const row = d.oneOf([first, ...more]);
      const data = dataOf(row);
      const [y] = d.g.node({
        op: op.slice(at + 1),
        domain: op.slice(0, Math.max(at, 0)),
        inputs: row.in.map((arg, i) => operand(d, arg, data[i])),
        attrs: row.attrs ?? {},
        outputs: row.outputs ?? 1,
      });
      // A length that an input decides is not known.
      if (y?.shape?.every((n) => typeof n === 'number') !== true) return;
      // Results of any size come to where tanh has a slope.
      d.put(d.g.Tanh(d.g.Mul(y, d.scalar(0.25))), 1);
    },
  };
}

/** One step for each operator that `drawn` lacks. */
export function stepsOfRows(drawn: ReadonlySet<string>): Step[] {
  const rest = allRows.filter((row) => isDrawn(row) && !drawn.has(row.op) && exceptions[row.op]?.random === undefined);
  const byOp = new Map<Case['op'], Case[]>();
  for (const row of rest) byOp.set(row.op, [...(byOp.get(row.op) ?? []), row]);
  return [...byOp].map(([op, rows]) => stepOf(op, rows));
}
