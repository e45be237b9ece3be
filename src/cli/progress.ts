/** Training on stderr: a bar on a terminal, elsewhere a line now and then. */

import { Presets, SingleBar } from 'cli-progress';
import type { TrainEvent } from '../index.ts';
import { count, metricsText, placementText, short } from './format.ts';
import type { Output } from './output.ts';

export interface TrainProgress {
  show(event: TrainEvent): void;
  end(): void;
}

/** Off a terminal there are about this many lines. */
const lines = 20;

export function trainProgress(out: Output): TrainProgress {
  let bar: SingleBar | undefined;
  let total = 0;
  const aside = (text: string): void => {
    // The bar is drawn again below the text.
    if (bar !== undefined) process.stderr.write('\r\x1b[K');
    out.note(text);
  };
  return {
    show(event) {
      switch (event.kind) {
        case 'start': {
          total = event.totalSteps;
          const from = event.from === 0 ? '' : `, ${event.from} done before`;
          out.note(`training ${count(event.trainable)} parameters for ${total} steps on ${event.provider}${from}`);
          if (!out.live) return;
          const format = 'step {value}/{total} [{bar}] loss {loss}  lr {lr}  {speed} examples/s  ETA {eta_formatted}';
          bar = new SingleBar({ format, stream: process.stderr, hideCursor: true, etaBuffer: 50 }, Presets.legacy);
          bar.start(total, event.from, { loss: '-', lr: '-', speed: '-' });
          return;
        }
        case 'step': {
          const { step, loss, lr, examplesPerSecond } = event.step;
          const values = { loss: short(loss), lr: short(lr), speed: count(Math.round(examplesPerSecond)) };
          if (bar !== undefined) bar.update(step, values);
          else if (step === total || step % Math.max(1, Math.round(total / lines)) === 0) {
            out.note(`step ${step}/${total}  loss ${values.loss}  lr ${values.lr}  ${values.speed} examples/s`);
          }
          return;
        }
        case 'evaluation': {
          const parts = [`loss ${short(event.evaluation.loss)}`, ...metricsText(event.evaluation)];
          if (event.best) parts.push('the best so far');
          aside(`evaluation at step ${event.step}: ${parts.join(', ')}`);
          return;
        }
        case 'notice':
          aside(event.text);
          return;
        case 'placement':
          aside(placementText(event.placement));
          return;
        case 'checkpoint':
          return;
      }
    },
    end() {
      bar?.stop();
      bar = undefined;
    },
  };
}
