import { gradientTable } from '../support/gradients/table.ts';
import * as table from './recurrent.rows.ts';

gradientTable('recurrences', table);
