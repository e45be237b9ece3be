import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './sampling.rows.ts';

gradientTable('sampling', rows);
