import { gradientTable } from '../support/gradients/table.ts';
import * as table from './indexing.rows.ts';

gradientTable('indexing', table);
