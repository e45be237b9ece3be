import { gradientTable } from '../support/gradients/table.ts';
import * as table from './spatial.rows.ts';

gradientTable('image operators', table);
