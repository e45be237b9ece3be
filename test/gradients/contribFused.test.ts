import { gradientTable } from '../support/gradients/table.ts';
import * as table from './contribFused.rows.ts';

gradientTable('fused operators', table);
