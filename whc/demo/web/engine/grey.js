/** Grey pictures (of a step of 1), equal to OpenCV's level by level. */

import { roundHalfEven } from "./numbers.js";
import { emptyPicture } from "./resizing.js";

/** @typedef {import("./resizing.js").Picture} Picture */

const [RED, GREEN, BLUE, GREY_BITS] = [9798, 19235, 3735, 15]; // BT.601 in fixed-point numbers
const [STEPS, STEP_BITS] = [32, 5]; // of a pixel, in which `moved` knows places
const UNITS = 1024; // of a pixel, in which it adds them up
const ONE = 256; // in the fixed-point weights of `resizeExactly`

/** The brightness of a picture. */
export function greyOf({ data, width, height, step }) {
  const grey = emptyPicture(height, width, 1);
  const half = 1 << (GREY_BITS - 1);
  for (let i = 0, from = 0; i < grey.data.length; i++, from += step) {
    grey.data[i] = (data[from] * RED + data[from + 1] * GREEN + data[from + 2] * BLUE + half) >> GREY_BITS;
  }
  return grey;
}

/** A grey picture whose left and right are swapped. */
export function mirrored({ data, width, height }) {
  const result = emptyPicture(height, width, 1);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) result.data[y * width + x] = data[(y + 1) * width - 1 - x];
  }
  return result;
}

/**
 * A grey picture whose pixel (x, y) shows the place (a x + b y + c, d x + e y + f) of another one.
 *
 * Places are whole 32nds of a pixel, as in cv2.warpAffine; outside the picture its border goes on.
 */
export function moved({ data, width, height }, [a, b, c, d, e, f]) {
  const result = emptyPicture(height, width, 1);
  const [acrossSteps, downSteps] = [a, d].map((step) =>
    Int32Array.from({ length: width }, (_, x) => inUnits(step * x)),
  );
  for (let y = 0, to = 0; y < height; y++) {
    const startX = inUnits(b * y + c) + UNITS / STEPS / 2;
    const startY = inUnits(e * y + f) + UNITS / STEPS / 2;
    for (let x = 0; x < width; x++) {
      const fromX = (startX + acrossSteps[x]) >> STEP_BITS;
      const fromY = (startY + downSteps[x]) >> STEP_BITS;
      const right = fromX & (STEPS - 1);
      const down = fromY & (STEPS - 1);
      const left = fromX >> STEP_BITS;
      const top = fromY >> STEP_BITS;
      const [x0, x1] = [within(left, width), within(left + 1, width)];
      const [row0, row1] = [within(top, height) * width, within(top + 1, height) * width];
      const upper = data[row0 + x0] * (STEPS - right) + data[row0 + x1] * right;
      const lower = data[row1 + x0] * (STEPS - right) + data[row1 + x1] * right;
      result.data[to++] = (upper * (STEPS - down) + lower * down + (STEPS * STEPS) / 2) >> (2 * STEP_BITS);
    }
  }
  return result;
}

function inUnits(value) {
  return roundHalfEven(value * UNITS);
}

function within(place, size) {
  return Math.min(Math.max(place, 0), size - 1);
}

/** A grey picture at another size: bilinear, with weights of whole 256ths (cv2.INTER_LINEAR_EXACT). */
export function resizeExactly(grey, height, width) {
  if (grey.height === height && grey.width === width) return grey;
  const result = emptyPicture(height, width, 1);
  const columns = exactWeights(grey.width, width);
  const rows = exactWeights(grey.height, height);
  const half = (ONE * ONE) / 2;
  for (let y = 0, to = 0; y < height; y++) {
    const [above, below] = [rows.firsts[y] * grey.width, rows.seconds[y] * grey.width];
    const lower = rows.weights[y];
    for (let x = 0; x < width; x++) {
      const [left, right, weight] = [columns.firsts[x], columns.seconds[x], columns.weights[x]];
      const upper = grey.data[above + left] * (ONE - weight) + grey.data[above + right] * weight;
      const under = grey.data[below + left] * (ONE - weight) + grey.data[below + right] * weight;
      result.data[to++] = (upper * (ONE - lower) + under * lower + half) >> 16;
    }
  }
  return result;
}

function exactWeights(size, newSize) {
  const scale = 1 / (newSize / size);
  const [firsts, seconds, weights] = [0, 0, 0].map(() => new Int32Array(newSize));
  for (let i = 0; i < newSize; i++) {
    const exact = scale * (i + 0.5) - 0.5;
    const place = Math.floor(exact);
    firsts[i] = Math.min(Math.max(place, 0), size - 1);
    seconds[i] = Math.min(firsts[i] + 1, size - 1);
    weights[i] = place < 0 || place >= size - 1 ? 0 : roundHalfEven((exact - place) * ONE);
  }
  return { firsts, seconds, weights };
}

/** Sums of the levels, and of their squares, above and to the left of each pixel; rows are `stride` long. */
export function integralsOf({ data, width, height }, stride) {
  const sums = new Int32Array(stride * (height + 1));
  const squares = new Float64Array(stride * (height + 1));
  for (let y = 0; y < height; y++) {
    let sum = 0;
    let square = 0;
    for (let x = 0; x < width; x++) {
      const level = data[y * width + x];
      sum += level;
      square += level * level;
      const to = (y + 1) * stride + x + 1;
      sums[to] = sums[to - stride] + sum;
      squares[to] = squares[to - stride] + square;
    }
  }
  return { sums, squares };
}
