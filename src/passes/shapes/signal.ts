/** Signals, text and images: operators at the edge of a model. */
import type { Dim } from '../../graph/model.ts';
import { add, broadcast, floorDiv, sub } from './dims.ts';
import { scalarIn } from './elements.ts';
import { axisIn, dimAt, like, out, shape, shapeRaw, withDim } from './rule.ts';

/** Frequencies of a transform of `length` points: all, or the first half for a real signal. */
const bins = (length: Dim, onesided: boolean): Dim => (onesided ? add(floorDiv(length, 2), 1) : length);

shape('DFT', ({ inputs: [x, length, axis], attrs: { inverse, onesided } }) => {
  const dims = x?.shape;
  const given = axis === undefined ? -2 : scalarIn(axis);
  const at = dims === undefined || typeof given !== 'number' ? undefined : axisIn(given, dims.length);
  if (dims === undefined || at === undefined)
    return [
      out(
        x?.dtype,
        dims?.map((_, i) => (i < dims.length - 1 ? null : 2)),
      ),
    ];
  const points = length === undefined ? dimAt(dims, at) : scalarIn(length);
  // A one-sided inverse gives a real signal; only dft_length determines its size.
  const real = inverse === 1 && onesided === 1;
  const here = real ? (length === undefined ? null : points) : bins(points, onesided === 1);
  return [out(x?.dtype, [...withDim(dims, at, here).slice(0, -1), real ? 1 : 2])];
});

shape('STFT', ({ inputs: [signal, step, window, frame], attrs: { onesided } }) => {
  const length = frame === undefined ? dimAt(window?.shape, 0) : scalarIn(frame);
  const frames = add(floorDiv(sub(dimAt(signal?.shape, 1), length), scalarIn(step)), 1);
  return [out(signal?.dtype, [dimAt(signal?.shape, 0), frames, bins(length, onesided === 1), 2])];
});

shape('ImageDecoder', ({ attrs: { pixel_format } }) => [
  out('uint8', [null, null, pixel_format === 'Grayscale' ? 1 : 3]),
]);

shape('StringNormalizer', ({ inputs: [x], attrs: { stopwords } }) => [
  stopwords === undefined || stopwords.length === 0
    ? like(x)
    : out('string', x?.shape?.length === 2 ? [1, null] : [null]),
]);
shapeRaw('StringSplit', ({ inputs: [x] }) => [
  out('string', x?.shape === undefined ? undefined : [...x.shape, null]),
  out('int64', x?.shape),
]);
shapeRaw('RegexFullMatch', ({ inputs: [x] }) => [out('bool', x?.shape)]);
shapeRaw('StringConcat', ({ inputs: [a, b] }) => [out('string', broadcast(a?.shape, b?.shape))]);

shape('TfIdfVectorizer', ({ inputs: [x], attrs: { ngram_indexes } }) => {
  const width = ngram_indexes === undefined ? null : Math.max(...ngram_indexes) + 1;
  return [out('float32', x?.shape === undefined ? undefined : [...x.shape.slice(0, -1), width])];
});
