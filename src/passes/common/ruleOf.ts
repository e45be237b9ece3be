import type { Node } from '../../graph/model.ts';

/** The rule that made a node; empty for nodes of the source. */
export const ruleOf = (node: Node | undefined): string => node?.metadata.get('loraify.rule') ?? '';
