import { gradientTable } from '../support/gradients/table.ts';
import * as table from './stateful.rows.ts';

gradientTable('layers with a state', table);
