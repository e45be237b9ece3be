import { gradientTable } from '../support/gradients/table.ts';
import * as table from './losses.rows.ts';

gradientTable('Einsum and losses', table);
