/** The rules of the shape kinds that rows of the operator tables name. */
import type { OpRow, ShapeKind } from '../../graph/operatorRow.ts';
import { attrsOf, operatorRows } from '../../graph/operators.ts';
import { broadcast } from './dims.ts';
import { matmulShape } from './linear.ts';
import { like, out, type Rule, shapeRaw } from './rule.ts';
import { conv } from './spatial.ts';

const kinds: { readonly [K in ShapeKind]: Rule } = {
  same: ({ inputs: [x] }) => [like(x)],
  broadcast: ({ inputs }) => [
    out(inputs.find((v) => v?.dtype !== undefined)?.dtype, broadcast(...inputs.map((v) => v?.shape))),
  ],
  matmul: ({ inputs: [a, b] }) => [out(a?.dtype ?? b?.dtype, matmulShape(a?.shape, b?.shape))],
  conv: ({ node, inputs: [x, w] }) => [conv(x?.dtype ?? w?.dtype, x, w, attrsOf(node, 'Conv'))],
};

for (const [key, row] of Object.entries<OpRow>(operatorRows))
  if (row.shape !== undefined) shapeRaw(key, kinds[row.shape]);
