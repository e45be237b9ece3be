import { gradientTable } from '../support/gradients/table.ts';
import * as table from './pool.rows.ts';

gradientTable('pools', table);
