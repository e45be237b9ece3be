import { gradientTable } from '../support/gradients/table.ts';
import * as table from './attention.rows.ts';

gradientTable('attention', table);
