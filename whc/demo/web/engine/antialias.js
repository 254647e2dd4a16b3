/** Pillow's bilinear filter, which becomes wider as it shrinks more: columns first, whole levels after each pass. */

import { emptyPicture } from "./resizing.js";

const ONE = 2 ** 22;

/** A picture of any size at (height, width). */
export function resizeAntialias(picture, height, width) {
  return resizeRows(resizeColumns(picture, width), height);
}

function resizeColumns(picture, width) {
  if (picture.width === width && picture.step === 3) return picture;
  const result = emptyPicture(picture.height, width);
  const weights = filterWeights(picture.width, width);
  for (let y = 0, to = 0; y < picture.height; y++) {
    for (let x = 0; x < width; x++, to += 3) {
      const from = (y * picture.width + weights.starts[x]) * picture.step;
      filter(picture.data, from, picture.step, weights.values[x], result.data, to);
    }
  }
  return result;
}

function resizeRows(picture, height) {
  if (picture.height === height) return picture;
  const { width } = picture;
  const result = emptyPicture(height, width);
  const weights = filterWeights(picture.height, height);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 3) {
      filter(picture.data, (weights.starts[y] * width + x) * 3, width * 3, weights.values[y], result.data, to);
    }
  }
  return result;
}

/** One new pixel: the weighted sum of old ones, `stride` bytes apart. */
function filter(data, from, stride, weights, result, to) {
  for (let channel = 0; channel < 3; channel++) {
    let sum = ONE / 2;
    for (let i = 0; i < weights.length; i++) sum += weights[i] * data[from + channel + i * stride];
    result[to + channel] = Math.floor(sum / ONE);
  }
}

/** Where the old pixels of each new one start, and their weights as whole multiples of 1 / ONE. */
function filterWeights(size, count) {
  const scale = size / count;
  const reach = Math.max(scale, 1);
  const starts = [];
  const values = [];
  for (let i = 0; i < count; i++) {
    const centre = (i + 0.5) * scale;
    const start = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const stop = Math.min(Math.trunc(centre + reach + 0.5), size);
    const weights = [];
    let total = 0;
    for (let place = start; place < stop; place++) {
      weights.push(Math.max(1 - Math.abs((place - centre + 0.5) * (1 / reach)), 0));
      total += weights.at(-1);
    }
    starts.push(start);
    values.push(Float64Array.from(weights, (weight) => Math.floor((weight / total) * ONE + 0.5)));
  }
  return { starts, values };
}
