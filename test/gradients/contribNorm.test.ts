import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './contribNorm.rows.ts';

gradientTable('contributed normalizations', rows);
