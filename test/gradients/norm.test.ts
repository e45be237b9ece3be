import { gradientTable } from '../support/gradients/table.ts';
import * as table from './norm.rows.ts';

gradientTable('normalizations', table);
