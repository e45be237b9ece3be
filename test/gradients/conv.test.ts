import { gradientTable } from '../support/gradients/table.ts';
import * as table from './conv.rows.ts';

gradientTable('convolutions', table);
