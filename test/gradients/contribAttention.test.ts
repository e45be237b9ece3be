import { gradientTable } from '../support/gradients/table.ts';
import * as table from './contribAttention.rows.ts';

gradientTable('contributed attention', table);
