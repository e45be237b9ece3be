import { gradientTable } from '../support/gradients/table.ts';
import * as table from './sampling.rows.ts';

gradientTable('sampling', table);
