import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './signal.rows.ts';

gradientTable('signals', rows);
