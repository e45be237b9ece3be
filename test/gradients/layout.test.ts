import { gradientTable } from '../support/gradients/table.ts';
import * as table from './layout.rows.ts';

gradientTable('layout', table);
