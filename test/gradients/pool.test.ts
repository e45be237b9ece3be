import { gradientTable } from '../support/gradients/table.ts';
import { rows } from './pool.rows.ts';

gradientTable('pools', rows);
