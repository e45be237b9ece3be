import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './conv.rows.ts';

gradientTable('convolutions', rows);
