import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './indexing.rows.ts';

gradientTable('indexing', rows);
