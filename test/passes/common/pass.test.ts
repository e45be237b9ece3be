/** The runner of passes: which run, what is tidied after each, what a listener gets, and how a broken graph is reported. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { noLayers } from '../../../src/errors.ts';
import { createBuilder } from '../../../src/graph/builder.ts';
import { cloneModel } from '../../../src/graph/clone.ts';
import type { Model, Node, Value } from '../../../src/graph/model.ts';
import { parseText } from '../../../src/parser/index.ts';
import { internalDomain } from '../../../src/passes/common/internalDomain.ts';
import { type Pass, type PassContext, type PassRun, runStage, type Stage } from '../../../src/passes/common/pass.ts';
import { finishing, stages } from '../../../src/passes/training/pipeline.ts';
import { coded } from '../../support/coded.ts';

/** `idle` is read by nothing. */
const text = `<ir_version: 10, opset_import: ["" : 18]>
main (float[2] x) => (float[2] y)
{
  [one] a = Neg (x)
  [two] idle = Exp (a)
  [three] y = Abs (a)
}`;

interface Context extends PassContext {
  readonly ran: string[];
}

const context = (): Context => ({ model: parseText(text), ran: [] });

/** Notes that it ran, then does `run`. */
const pass = (name: string, run: (c: Context) => void = () => {}, holds?: boolean): Pass<Context> => ({
  name,
  why: 'a test',
  ...(holds === undefined ? {} : { when: { text: 'at times', holds: () => holds } }),
  run: (c) => {
    c.ran.push(name);
    run(c);
  },
});

const stage = (passes: readonly Pass<Context>[], more: Partial<Stage<Context>> = {}): Stage<Context> => ({
  name: 'trial',
  makes: 'a test',
  tidies: true,
  dialect: false,
  passes,
  ...more,
});

const ops = ({ model }: Context): string => model.graph.nodes.map((n) => n.op).join(' ');
const node = ({ model }: Context, name: string): Node => {
  const found = model.graph.nodes.find((n) => n.name === name);
  if (found === undefined) throw new Error('the text has changed');
  return found;
};
const output = (of: Node): Value => {
  const [y] = of.outputs;
  if (y === undefined) throw new Error('the text has changed');
  return y;
};

/** Puts `make` between node one and its readers, in nodes that no graph has yet. */
const detached =
  (make: (g: ReturnType<typeof createBuilder>, a: Value) => Value) =>
  (c: Context): void => {
    node(c, 'three').setInput(0, make(createBuilder(), output(node(c, 'one'))));
  };

describe('a stage', () => {
  it('runs its passes in order, those whose condition holds', () => {
    const c = context();
    runStage(stage([pass('first'), pass('off', undefined, false), pass('on', undefined, true), pass('last')]), c);
    expect(c.ran).toEqual(['first', 'on', 'last']);
  });

  it('asks for a condition when the passes before have run', () => {
    const c = context();
    const late: Pass<Context> = {
      ...pass('late'),
      when: { text: 'behind another', holds: ({ ran }) => ran.length > 0 },
    };
    runStage(stage([late, pass('other'), { ...late, name: 'again' }]), c);
    expect(c.ran).toEqual(['other', 'late']);
  });

  it('goes on with the model that a pass puts in the place of its own', () => {
    const c = context();
    const { model: other } = cloneModel(c.model);
    const seen: Model[] = [];
    const see = (run: PassRun): void => {
      seen.push(run.model);
    };
    const replace = pass('replace', (own) => {
      own.model = other;
    });
    const change = pass(
      'change',
      detached((g, a) => g.Tanh(a)),
    );
    runStage(stage([replace, change]), c, see);
    expect(seen).toEqual([other, other]);
    expect(ops(c)).toBe('Neg Tanh Abs');
  });
});

describe('a listener', () => {
  it('is called for each pass that ran, with stage, name and the model as the pass left it', () => {
    const c = context();
    const calls: string[] = [];
    const change = pass(
      'change',
      detached((g, a) => g.Tanh(a)),
    );
    runStage(stage([pass('first'), pass('off', undefined, false), change]), c, (run) => {
      expect(run.milliseconds).toBeGreaterThanOrEqual(0);
      calls.push(`${run.stage}/${run.pass}: ${run.model.graph.nodes.map((n) => n.op).join(' ')}`);
    });
    expect(calls).toEqual(['trial/first: Neg Exp Abs', 'trial/change: Neg Tanh Abs']);
  });

  it('is not called for a pass that throws, nor for those behind it', () => {
    const c = context();
    const calls: string[] = [];
    const fail = pass('fail', () => {
      throw noLayers('a test');
    });
    const run = (): void => runStage(stage([pass('first'), fail, pass('last')]), c, (r) => calls.push(r.pass));
    expect(run).toThrow(expect.toSatisfy(coded('NO_LAYERS', 'a test')));
    expect(calls).toEqual(['first']);
    expect(c.ran).toEqual(['first', 'fail']);
  });
});

describe('after a pass that changed the graph', () => {
  it('detached nodes join it, with their constants, and nodes that nothing reads leave it', () => {
    const c = context();
    runStage(
      stage([
        pass(
          'change',
          detached((g, a) => g.Add(a, g.float(2))),
        ),
      ]),
      c,
    );
    expect(ops(c)).toBe('Neg Add Abs');
    expect(c.model.graph.initializers.map((v) => v.name)).toEqual(['const.float32.2']);
  });

  it('names are unique', () => {
    const c = context();
    const change = detached((g, a) => {
      const made = g.Tanh(a);
      made.name = 'a';
      return made;
    });
    runStage(stage([pass('change', change)]), c);
    const names = c.model.graph.nodes.map((n) => output(n).name);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toContain('y');
  });

  it('domains of its operators are imported, that of the dialect is not', () => {
    const c = context();
    const change = detached((g, a) => {
      const [fused = a] = g.node({ op: 'Gelu', domain: 'com.microsoft', inputs: [a], outputs: 1 });
      const [made = fused] = g.node({ op: 'Detach', domain: internalDomain, inputs: [fused], outputs: 1 });
      return made;
    });
    runStage(stage([pass('change', change)], { dialect: true }), c);
    expect(ops(c)).toBe('Neg Gelu Detach Abs');
    expect([...c.model.opsets]).toEqual([
      ['', 18],
      ['com.microsoft', 1],
    ]);
  });

  it('all of that is left to the pass in a stage that does not tidy', () => {
    const c = context();
    const change = pass('change', (own) => {
      node(own, 'three').setInput(0, output(node(own, 'two')));
      node(own, 'two').setInput(0, own.model.graph.inputs[0]);
    });
    runStage(stage([change], { tidies: false }), c);
    expect(ops(c)).toBe('Neg Exp Abs');
  });
});

describe('after a pass that connected nothing anew', () => {
  it('the graph is as the pass left it: an idle node, the order of nodes, a name', () => {
    const c = context();
    const order = pass('order', ({ model: { graph } }) => {
      const [one, two, three] = graph.nodes;
      if (one === undefined || two === undefined || three === undefined) throw new Error('the text has changed');
      graph.nodes.splice(0, 3, one, three, two);
      two.name = 'three';
    });
    runStage(stage([order]), c);
    expect(ops(c)).toBe('Neg Abs Exp');
    expect(c.model.graph.nodes.map((n) => n.name)).toEqual(['one', 'three', 'three']);
  });
});

describe('verification', () => {
  /** Node two before node one, whose result it reads. */
  const breaks = pass('breaks', ({ model }) => {
    model.graph.nodes.reverse();
  });
  const repairs = pass('repairs', ({ model }) => {
    model.graph.nodes.reverse();
  });

  afterEach(() => {
    vi.unstubAllEnvs();
    vi.resetModules();
  });

  it('names the pass that broke the graph, and the node', () => {
    const c = context();
    expect(() => runStage(stage([pass('first'), breaks, pass('last')]), c)).toThrow(
      expect.toSatisfy(coded('BAD_MODEL', 'after pass trial/breaks: ', 'node "three"', 'not defined before')),
    );
    expect(c.ran).toEqual(['first', 'breaks']);
    expect(() => runStage(stage([breaks]), context())).toThrow(expect.objectContaining({ node: 'three' }));
  });

  it('waits where a stage says that its graph fits no single table', () => {
    const c = context();
    runStage(stage([breaks, repairs], { verifiable: ({ ran }) => ran.length > 1 }), c);
    expect(c.ran).toEqual(['breaks', 'repairs']);
  });

  it('allows the dialect between passes, and at the end where the stage does', () => {
    const enters = pass(
      'enters',
      detached((g, a) => g.node({ op: 'Detach', domain: internalDomain, inputs: [a], outputs: 1 })[0] ?? a),
    );
    const leaves = pass('leaves', (c) => {
      node(c, 'three').setInput(0, output(node(c, 'one')));
    });
    runStage(stage([enters, leaves]), context());
    runStage(stage([enters], { dialect: true }), context());
    expect(() => runStage(stage([enters]), context())).toThrow(
      expect.toSatisfy(coded('BAD_MODEL', 'internal to the compiler')),
    );
  });

  it('happens at the end of a stage alone without LORAIFY_VERIFY', async () => {
    vi.stubEnv('LORAIFY_VERIFY', '');
    vi.resetModules();
    const fresh = await import('../../../src/passes/common/pass.ts');
    const c = context();
    fresh.runStage(stage([breaks, repairs]), c);
    expect(c.ran).toEqual(['breaks', 'repairs']);
    expect(() => fresh.runStage(stage([breaks]), context())).toThrow(/not defined before/);
  });
});

describe.each([...stages, finishing].map((s) => [s.name, s] as const))('the passes of %s', (_, { makes, passes }) => {
  it('have names of their own, which are parts of file names, and a reason each', () => {
    const names = passes.map((p) => p.name);
    expect(new Set(names).size).toBe(names.length);
    for (const { name, why } of passes) {
      expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(why, name).toMatch(/^\S.*[^.\s]$/);
    }
    expect(makes).toMatch(/^\S.*[^.\s]$/);
  });
});
