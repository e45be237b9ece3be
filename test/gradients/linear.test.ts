import { gradientTable } from '../support/gradients/table.ts';
import * as table from './linear.rows.ts';

gradientTable('products', table);
