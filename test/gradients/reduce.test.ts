import { gradientTable } from '../support/gradients/table.ts';
import * as table from './reduce.rows.ts';

gradientTable('reductions', table);
