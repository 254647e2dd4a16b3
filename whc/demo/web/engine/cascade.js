/**
 * Cascades of Haar features (Viola and Jones 2001), evaluated and grouped as OpenCV's CascadeClassifier does.
 *
 * @typedef {object} Cascade
 * @property {number} side of its windows, in pixels.
 * @property {number[][]} stages the number of features and the threshold of each stage.
 * @property {number[][]} features in the order of the stages: the threshold, the values below it and from it on, then
 *   x, y, width, height and weight of two or three rectangles.
 */

import { integralsOf, resizeExactly } from "./grey.js";
import { roundHalfEven } from "./numbers.js";

const THRESHOLD_MARGIN = Math.fround(1e-5); // of a stage
const LEAST_SPREAD = 0.1; // of a window's levels
const FINE_SCALE = 2; // from which windows lie at every pixel, not at every second one
const SIMILAR_SHARE = 0.2; // of the sides, by which windows of one object differ
const FLAT = -1;
const [FIRST_RECTANGLE, RECTANGLE_NUMBERS] = [3, 5]; // in a feature
const [MAX_RECTANGLES, CORNERS] = [3, 4];

/** A cascade that is ready to look at pictures. */
export class CascadeClassifier {
  #side;
  #stages; // their thresholds
  #ends; // of their features
  #features;
  #thresholds;
  #values; // below the threshold, and from it on
  #weights;
  #corners; // places of the rectangles' corners in a table with rows of this length
  #stride = 0;
  #sum = 0; // of the stage that was looked at last

  /** @param {Cascade} cascade */
  constructor({ side, stages, features }) {
    this.#side = side;
    this.#stages = Float32Array.from(stages, ([, threshold]) => Math.fround(threshold) - THRESHOLD_MARGIN);
    let end = 0;
    this.#ends = Int32Array.from(stages, ([count]) => (end += count));
    this.#features = features.map((numbers) => rectanglesOf(numbers));
    this.#thresholds = Float32Array.from(features, ([threshold]) => threshold);
    this.#values = Float32Array.from(features.flatMap(([, below, above]) => [below, above]));
    this.#weights = new Float32Array(features.length * MAX_RECTANGLES);
    this.#corners = new Int32Array(features.length * MAX_RECTANGLES * CORNERS);
    this.#features.forEach((rectangles, i) =>
      rectangles.forEach(([, , , , weight], j) => {
        this.#weights[i * MAX_RECTANGLES + j] = weight;
      }),
    );
  }

  /**
   * Groups of windows that look like the object.
   *
   * @param {import("./resizing.js").Picture} grey
   * @param {{step: number, neighbours: number, least: number}} options from one size of windows to the next, windows
   *   that must agree, and their least side in pixels.
   * @returns {number[][]} left, top, side and weight.
   */
  find(grey, { step, neighbours, least }) {
    const windows = [];
    this.#place(grey.width + 1);
    for (const scale of this.#scales(grey, step, least)) this.#look(grey, scale, windows);
    return grouped(windows, neighbours);
  }

  #scales({ height, width }, step, least) {
    const scales = [];
    for (let factor = 1; ; factor *= step) {
      const side = roundHalfEven(this.#side * factor);
      if (side > width || side > height) return scales;
      const scale = Math.fround(factor);
      if (roundHalfEven(Math.fround(this.#side * scale)) >= least) scales.push(scale);
    }
  }

  #look(grey, scale, windows) {
    const [height, width] = [grey.height, grey.width].map((side) => roundHalfEven(Math.fround(side / scale)));
    const tables = integralsOf(resizeExactly(grey, height, width), this.#stride);
    const step = scale >= FINE_SCALE ? 1 : 2;
    const side = roundHalfEven(Math.fround(this.#side * scale));
    for (let y = 0; y <= height - this.#side; y += step) {
      for (let x = 0; x <= width - this.#side; x += step) {
        const passed = this.#passed(tables, y * this.#stride + x);
        if (passed === this.#stages.length) {
          windows.push([roundHalfEven(Math.fround(x * scale)), roundHalfEven(Math.fround(y * scale)), side, this.#sum]);
        } else if (passed === 0) {
          x += step; // OpenCV leaves out the next one
        }
      }
    }
  }

  /** Rows of all tables are as long as those of the largest: so the corners have their places once for a picture. */
  #place(stride) {
    if (stride === this.#stride) return;
    this.#stride = stride;
    this.#features.forEach((rectangles, i) =>
      rectangles.forEach(([x, y, width, height], j) => {
        const places = [
          y * stride + x,
          y * stride + x + width,
          (y + height) * stride + x,
          (y + height) * stride + x + width,
        ];
        this.#corners.set(places, (i * MAX_RECTANGLES + j) * CORNERS);
      }),
    );
  }

  /** How many stages a window passes, FLAT where it shows nothing at all. */
  #passed(tables, at) {
    const share = this.#spreadShare(tables, at);
    if (share === null) return FLAT;
    // Local names and no small arrays: this runs for each window of each size, and takes most of the time.
    const { sums } = tables;
    const thresholds = this.#thresholds;
    const values = this.#values;
    const weights = this.#weights;
    const corners = this.#corners;
    const stages = this.#stages;
    let feature = 0;
    for (let stage = 0; stage < stages.length; stage++) {
      let sum = 0;
      for (const end = this.#ends[stage]; feature < end; feature++) {
        const i = feature * MAX_RECTANGLES;
        let total = Math.fround(weights[i] * levelsIn(sums, at, corners, i));
        total = Math.fround(total + Math.fround(weights[i + 1] * levelsIn(sums, at, corners, i + 1)));
        if (weights[i + 2] !== 0)
          total = Math.fround(total + Math.fround(weights[i + 2] * levelsIn(sums, at, corners, i + 2)));
        sum += values[2 * feature + (Math.fround(total * share) < thresholds[feature] ? 0 : 1)];
      }
      this.#sum = sum;
      if (sum < stages[stage]) return stage;
    }
    return stages.length;
  }

  /** One over the area and the standard deviation of a window's levels; null where the window is flat. */
  #spreadShare({ sums, squares }, at) {
    const inner = this.#side - 2;
    const top = at + this.#stride + 1;
    const bottom = top + inner * this.#stride;
    const sum = sums[top] - sums[top + inner] - sums[bottom] + sums[bottom + inner];
    const squareSum = squares[top] - squares[top + inner] - squares[bottom] + squares[bottom + inner];
    const spread = inner * inner * squareSum - sum * sum;
    if (spread <= 0) return null;
    const share = Math.fround(1 / Math.sqrt(spread));
    return inner * inner * share < LEAST_SPREAD ? share : null;
  }
}

/** The sum of the levels in a rectangle of a window that starts at `at`. */
function levelsIn(sums, at, corners, rectangle) {
  const i = rectangle * CORNERS;
  return sums[at + corners[i]] - sums[at + corners[i + 1]] - sums[at + corners[i + 2]] + sums[at + corners[i + 3]];
}

function rectanglesOf(numbers) {
  const count = (numbers.length - FIRST_RECTANGLE) / RECTANGLE_NUMBERS;
  return Array.from({ length: count }, (_, i) => {
    const start = FIRST_RECTANGLE + i * RECTANGLE_NUMBERS;
    return numbers.slice(start, start + RECTANGLE_NUMBERS);
  });
}

/** Mean windows of the groups of more than `neighbours` similar ones, with the largest weight of each group. */
function grouped(windows, neighbours) {
  const groups = groupsOf(windows).map((members) => {
    const share = Math.fround(1 / members.length);
    const mean = (i) => roundHalfEven(Math.fround(members.reduce((sum, window) => sum + window[i], 0) * share));
    return {
      count: members.length,
      window: [mean(0), mean(1), mean(2), Math.max(...members.map(([, , , weight]) => weight))],
    };
  });
  const large = groups.filter(({ count }) => count > neighbours);
  return large
    .filter((group) => !large.some((other) => other !== group && isWithin(group, other)))
    .map(({ window }) => window);
}

/** Windows that are similar, or linked by similar ones. */
function groupsOf(windows) {
  const groups = [];
  const waiting = new Set(windows);
  for (const window of windows) {
    if (!waiting.delete(window)) continue;
    const members = [window];
    for (const member of members) {
      for (const other of waiting) {
        if (!isSimilar(member, other)) continue;
        waiting.delete(other);
        members.push(other);
      }
    }
    groups.push(members);
  }
  return groups;
}

function isSimilar([x, y, side], [otherX, otherY, otherSide]) {
  const most = SIMILAR_SHARE * Math.min(side, otherSide);
  const ends = [x - otherX, y - otherY, x + side - otherX - otherSide, y + side - otherY - otherSide];
  return ends.every((distance) => Math.abs(distance) <= most);
}

/** Whether a group lies within another one that has more windows. */
function isWithin({ count, window: [x, y, side] }, { count: otherCount, window: [otherX, otherY, otherSide] }) {
  const slack = roundHalfEven(otherSide * SIMILAR_SHARE);
  const isInside =
    x >= otherX - slack &&
    y >= otherY - slack &&
    x + side <= otherX + otherSide + slack &&
    y + side <= otherY + otherSide + slack;
  return isInside && (otherCount > Math.max(3, count) || count < 3);
}
