import { command } from '../command.ts';
import { flag, required } from '../options.ts';

export const printCommand = command({
  usage: 'print <model>',
  describe: "print a model in ONNX's textual syntax",
  examples: ['loraify print model.onnx', 'loraify print model.onnx --full'],
  options: {
    model: required({ positional: true, describe: 'ONNX file or package' }),
    full: flag({ describe: 'tensors above 64 elements too' }),
  },
  async run({ model, full = false }, out) {
    const { printModelText } = await import('../../index.ts');
    const text = printModelText(model, { full });
    out.result(text, { file: model, text });
    return 0;
  },
});
