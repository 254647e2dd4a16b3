/** Faces by UltraFace: whc/demo/detectors/ultraface.py. */

import { bestBoxes } from "../boxes.js";
import { resize } from "../preprocess.js";

const MAX_OVERLAP = 0.3;
const CELLS = { 8: [10, 16, 24], 16: [32, 48], 32: [64, 96], 64: [128, 192, 256] }; // sides of fixed boxes by stride
const [CENTRE_SCALE, SIDE_SCALE] = [0.1, 0.2]; // of the differences

/** @type {import("./index.js").Load} */
export async function load(run, { name, form, config }) {
  const [height, width] = form.shape.slice(2);
  const shape = [1, 3, height, width];
  const outputsOf = async (pixels) => Object.values(await run(pixels, shape)).map(({ data }) => data);
  const [, black] = await outputsOf(new Float32Array(3 * height * width));
  const fixed = hasCorners(black) ? null : fixedBoxes(height, width);
  if (fixed && 4 * fixed.length !== black.length) {
    throw new Error(
      `${name}: must have its boxes as corners, or as differences from UltraFace's; choose another detector`,
    );
  }
  return async (picture) => {
    const [scores, numbers] = await outputsOf(planes(resize(picture, height, width)));
    const boxes = [];
    for (let i = 0; i < scores.length / 2; i++) {
      const score = scores[2 * i + 1];
      if (score >= config.least_score) boxes.push([score, ...decode(numbers.subarray(4 * i, 4 * i + 4), fixed?.[i])]);
    }
    return bestBoxes(boxes, MAX_OVERLAP);
  };
}

function hasCorners(numbers) {
  for (let i = 0; i < numbers.length; i += 4) {
    if (numbers[i + 2] <= numbers[i] || numbers[i + 3] <= numbers[i + 1]) return false;
  }
  return true;
}

/** The boxes cx, cy, w, h, in shares of the input, from which the network gives differences. */
function fixedBoxes(height, width) {
  return Object.entries(CELLS).flatMap(([stride, sides]) => {
    const [rows, columns] = [Math.ceil(height / stride), Math.ceil(width / stride)];
    return Array.from({ length: rows * columns }, (_, cell) => {
      const [x, y] = [((cell % columns) + 0.5) / columns, (Math.floor(cell / columns) + 0.5) / rows];
      return sides.map((side) => [x, y, side / width, side / height]);
    }).flat();
  });
}

function decode([first, second, third, fourth], own) {
  if (!own) return [(first + third) / 2, (second + fourth) / 2, third - first, fourth - second];
  const [cx, cy, w, h] = own;
  const centre = [cx + CENTRE_SCALE * first * w, cy + CENTRE_SCALE * second * h];
  return [...centre, w * Math.exp(SIDE_SCALE * third), h * Math.exp(SIDE_SCALE * fourth)];
}

/** Levels from -1 to 1 in planes of red, green and blue. */
function planes({ data, width, height, step }) {
  const pixels = width * height;
  const result = new Float32Array(3 * pixels);
  for (let plane = 0; plane < 3; plane++) {
    for (let i = 0; i < pixels; i++) result[plane * pixels + i] = (data[i * step + plane] - 127) / 128;
  }
  return result;
}
