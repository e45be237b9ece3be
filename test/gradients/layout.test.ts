import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './layout.rows.ts';

gradientTable('layout', rows);
