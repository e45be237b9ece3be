import { gradientTable } from '../support/gradients/table.ts';
import * as table from './ml.rows.ts';

gradientTable('operators of ai.onnx.ml', table);
