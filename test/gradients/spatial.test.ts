import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './spatial.rows.ts';

gradientTable('image operators', rows);
