/** Every operator in the tables, and how a compile treats it: the source of docs/reference/operators.md. */
import { contrib } from '../../graph/contrib.ts';
import { operatorRows } from '../../graph/operators.ts';
import { gradientState, pending, renamed, stopReason } from '../autodiff/index.ts';
import { ruleKeys } from '../autodiff/rules.ts';
import { internalDomain } from '../common/internalDomain.ts';
import { layerKeys } from '../select/layers/index.ts';
import { shapeRuleKeys } from '../shapes/rule.ts';
import '../shapes/index.ts';

export interface OperatorState {
  /** '' is ai.onnx. */
  readonly domain: string;
  readonly op: string;
  /** `missing`: a gradient through it fails with NO_GRADIENT. */
  readonly gradient: 'rule' | 'decomposition' | 'stopped' | 'missing';
  /** The reason why no gradient passes, or the missing part of the rule. */
  readonly note: string;
  /** Whether a constant operand is a weight that can be adapted. */
  readonly layer: boolean;
}

/** All operators, sorted by domain and name: the registered ones, which include all of the standard domain. */
export function operatorStates(): OperatorState[] {
  const keys = new Set([...Object.keys(operatorRows), ...ruleKeys(), ...shapeRuleKeys(), ...pending.keys()]);
  return [...keys]
    .map((key): OperatorState => {
      const dot = key.lastIndexOf('.');
      const gradient = gradientState(key) ?? (renamed.has(key) ? 'rule' : 'missing');
      const notes = {
        stopped: stopReason(key),
        missing: pending.get(key),
        rule: renamed.get(key),
        decomposition: undefined,
      };
      const note = notes[gradient];
      return {
        domain: key.slice(0, Math.max(dot, 0)),
        op: key.slice(dot + 1),
        gradient,
        note:
          note ?? (dot < 0 && Object.hasOwn(contrib, key) ? 'an operator of ONNX Runtime, not of the standard' : ''),
        layer: layerKeys.has(key),
      };
    })
    .filter((s) => s.domain !== internalDomain)
    .sort((a, b) => compare(a.domain, b.domain) || compare(a.op, b.op));
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
