import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './losses.rows.ts';

gradientTable('Einsum and losses', rows);
