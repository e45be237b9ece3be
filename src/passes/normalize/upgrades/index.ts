/** All upgrade rules. Operators without one kept their form, or only gained optional parts, since opset 7. */
import type { Upgrade } from '../upgrade.ts';
import { axesUpgrades } from './axes.ts';
import { controlUpgrades } from './control.ts';
import { experimentalUpgrades } from './experimental.ts';
import { miscUpgrades } from './misc.ts';
import { normUpgrades } from './norms.ts';
import { resizeUpgrades } from './resize.ts';
import { softmaxUpgrades } from './softmax.ts';

export const upgrades: readonly Upgrade[] = [
  ...axesUpgrades,
  ...controlUpgrades,
  ...experimentalUpgrades,
  ...miscUpgrades,
  ...normUpgrades,
  ...resizeUpgrades,
  ...softmaxUpgrades,
];
