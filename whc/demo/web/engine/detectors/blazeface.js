/** Faces by BlazeFace at 128x128: whc/demo/detectors/blazeface.py. */

import { bestBoxes } from "../boxes.js";
import { emptyPicture, resizeArea } from "../resizing.js";

const SIDE = 128;
const GRIDS = [
  [16, 2],
  [8, 6],
]; // cells along a side, and boxes of a cell
const NUMBERS = 16; // of a box: the box, and six points
const MAX_OVERLAP = 0.3;
const MAX_LOGIT = 100;

/** @type {import("./index.js").Load} */
export async function load(run, { config }) {
  return async (picture) => {
    const { square, down, across } = squared(picture);
    const small = resizeArea(square, SIDE, SIDE);
    const pixels = Float32Array.from(small.data, (level) => Math.fround(level / 127.5) - 1);
    const outputs = Object.values(await run(pixels, [1, SIDE, SIDE, 3]));
    const faces = GRIDS.flatMap((grid) => decode(outputs, grid, config.least_score));
    const boxes = faces.map(([score, cx, cy, w, h]) => [
      score,
      (cx * square.width - across) / picture.width,
      (cy * square.height - down) / picture.height,
      (w * square.width) / picture.width,
      (h * square.height) / picture.height,
    ]);
    return bestBoxes(boxes, MAX_OVERLAP);
  };
}

/** The picture in the middle of a black square. */
function squared(picture) {
  const side = Math.max(picture.height, picture.width);
  const [down, across] = [(side - picture.height) >> 1, (side - picture.width) >> 1];
  const square = emptyPicture(side, side);
  for (let y = 0; y < picture.height; y++) {
    for (let x = 0; x < picture.width; x++) {
      const from = (y * picture.width + x) * picture.step;
      const to = ((y + down) * side + x + across) * 3;
      for (let colour = 0; colour < 3; colour++) square.data[to + colour] = picture.data[from + colour];
    }
  }
  return { square, down, across };
}

/** The faces of a grid: score, cx, cy, w, h in shares of the square. */
function decode(outputs, [cells, boxesOfCell], leastScore) {
  const count = cells * cells * boxesOfCell;
  const [logits, numbers] = [1, NUMBERS].map(
    (last) => outputs.find(({ dims }) => dims[1] === count && dims[2] === last).data,
  );
  const faces = [];
  for (let i = 0; i < count; i++) {
    const score = 1 / (1 + Math.exp(-Math.min(Math.max(logits[i], -MAX_LOGIT), MAX_LOGIT)));
    if (score < leastScore) continue;
    const cell = Math.floor(i / boxesOfCell);
    const [right, down, w, h] = Array.from(numbers.subarray(NUMBERS * i, NUMBERS * i + 4), (number) => number / SIDE);
    faces.push([score, ((cell % cells) + 0.5) / cells + right, (Math.floor(cell / cells) + 0.5) / cells + down, w, h]);
  }
  return faces;
}
