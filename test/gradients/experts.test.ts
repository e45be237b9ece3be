import { gradientTable } from '../support/gradients/table.ts';
import * as table from './experts.rows.ts';

gradientTable('mixtures of experts', table);
