import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './reduce.rows.ts';

gradientTable('reductions', rows);
