import { gradientTable } from '../support/gradients/table.ts';
import * as table from './signal.rows.ts';

gradientTable('signals', table);
