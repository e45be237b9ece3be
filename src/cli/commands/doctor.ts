import { command } from '../command.ts';
import { bytes, plural, table } from '../format.ts';

export const doctorCommand = command({
  usage: 'doctor',
  describe: 'list versions and execution providers, and how to get more',
  examples: ['loraify doctor', 'loraify doctor --json'],
  options: {},
  async run(_, out) {
    const { doctor, version } = await import('../../index.ts');
    const found = await doctor();
    const rows = found.providers.map((p) => [p.name, p.ok ? 'works' : 'no', p.reason ?? '']);
    const hints = found.providers.flatMap((p) => (p.hint === undefined ? [] : [`${p.name}: ${p.hint}`]));
    const lines = [
      `loraify ${version}, onnxruntime-node ${found.onnxruntime}, Node ${found.node}, ${found.platform}`,
      `${plural(found.cores, 'core')}, ${bytes(found.memory)} of memory`,
      table(['execution provider', 'starts', 'why not'], rows),
      ...hints,
    ];
    out.result(lines.join('\n'), { loraify: version, ...found });
    return 0;
  },
});
