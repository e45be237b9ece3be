import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './norm.rows.ts';

gradientTable('normalizations', rows);
