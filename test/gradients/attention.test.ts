import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './attention.rows.ts';

gradientTable('attention', rows);
