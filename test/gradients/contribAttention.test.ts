import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './contribAttention.rows.ts';

gradientTable('contributed attention', rows);
