import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './recurrent.rows.ts';

gradientTable('recurrences', rows);
