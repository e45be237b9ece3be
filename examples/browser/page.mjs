// The page: onnxruntime-web runs the model, loraify/adapter makes the feeds. The files are the output of
// examples/swap.mjs.
import { adapterFeeds, baseFeeds, readAdapter } from 'loraify/adapter';
import * as ort from 'onnxruntime-web';

const { Tensor } = ort;
// One thread: more require a cross-origin isolated page.
ort.env.wasm.numThreads = 1;

const at = (id) => document.getElementById(id);
const get = async (file) => {
  const response = await fetch(`/swap.run/${file}`);
  if (!response.ok) throw new Error(`swap.run/${file} is missing: run node examples/swap.mjs first`);
  return response;
};
const bytes = async (file) => new Uint8Array(await (await get(file)).arrayBuffer());
const open = async (file) => ort.InferenceSession.create(await bytes(file));

/** Rotates by 90 degrees clockwise, `quarters` times. */
const turned = (digits, quarters) =>
  quarters === 0
    ? digits
    : turned(
        digits.map(({ image, labels }) => ({
          image: image.map((_, i) => image[8 * (7 - (i % 8)) + Math.floor(i / 8)]),
          labels,
        })),
        quarters - 1,
      );
async function logits(session, digits, feeds) {
  const image = new Tensor('float32', Float32Array.from(digits.flatMap((d) => d.image)), [digits.length, 64]);
  return (await session.run({ ...feeds, image })).logits.data;
}

function show(digits, read) {
  const figures = digits.slice(0, 42).map(({ image, labels }, i) => {
    const figure = document.createElement('figure');
    figure.className = read[i] === labels ? 'right' : 'wrong';
    const canvas = Object.assign(document.createElement('canvas'), { width: 8, height: 8 });
    const pixels = new ImageData(8, 8);
    for (const [p, ink] of image.entries()) pixels.data.set([29, 35, 48, 255 * ink], 4 * p);
    canvas.getContext('2d').putImageData(pixels, 0, 0);
    const caption = Object.assign(document.createElement('figcaption'), { textContent: read[i] });
    figure.append(canvas, caption);
    return figure;
  });
  at('digits').replaceChildren(...figures);
}

async function start() {
  const [session, test] = [await open('digits.onnx'), await (await get('digits.json')).json()];
  const inputs = session.inputMetadata;
  const adapters = {
    right: readAdapter(await bytes('right.onnx_adapter')),
    'upside-down': readAdapter(await bytes('upside-down.onnx_adapter')),
    // A PEFT directory: its weights and its configuration.
    left: readAdapter(
      await bytes('left/adapter_model.safetensors'),
      await (await get('left/adapter_config.json')).text(),
    ),
  };
  const papers = [0, 1, 2, 3].map((quarters) => turned(test, quarters));

  async function update() {
    const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;
    const strength = Number(at('strength').value);
    at('value').value = strength.toFixed(2);
    const digits = papers[chosen('paper')];
    const adapter = adapters[chosen('adapter')];
    const started = performance.now();
    const feeds =
      adapter === undefined ? baseFeeds(inputs, { Tensor }) : adapterFeeds(adapter, inputs, { Tensor, strength });
    const scores = await logits(session, digits, feeds);
    const time = performance.now() - started;
    const read = digits.map((_, i) => scores.subarray(10 * i, 10 * i + 10)).map((s) => s.indexOf(Math.max(...s)));
    const right = digits.filter((d, i) => d.labels === read[i]).length;
    at('accuracy').value = `${((100 * right) / digits.length).toFixed(1)} % of ${digits.length} digits are read right`;
    at('time').textContent = `in ${time.toFixed(1)} ms`;
    show(digits, read);
  }

  // One run at a time: a session does not support concurrent runs.
  let queue = update();
  document.addEventListener('input', () => {
    queue = queue.then(update);
  });
  await queue;

  for (const [i, [name, adapter]] of Object.entries(adapters).entries()) {
    const merged = await logits(await open(`${name}.onnx`), papers[i + 1]);
    const swapped = await logits(session, papers[i + 1], adapterFeeds(adapter, inputs, { Tensor }));
    const size = merged.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const difference = merged.reduce((most, x, j) => Math.max(most, Math.abs(x - swapped[j])), 0) / size;
    const row = at('merged').insertRow();
    row.insertCell().textContent = name;
    row.insertCell().textContent = difference.toExponential(1);
  }
  document.title = `${document.title} (ready)`;
}

start().catch((error) => {
  at('accuracy').value = `${error.message}${error.hint === undefined ? '' : ` (${error.hint})`}`;
});
