import { gradientTable } from '../support/gradients/table.ts';
import * as table from './elementwise.rows.ts';

gradientTable('elementwise operators', table);
