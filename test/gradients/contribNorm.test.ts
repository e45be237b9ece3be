import { gradientTable } from '../support/gradients/table.ts';
import * as table from './contribNorm.rows.ts';

gradientTable('contributed normalizations', table);
