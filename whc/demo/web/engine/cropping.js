/** Crops around boxes: whc/data/cropping.py. */

import { roundHalfEven } from "./numbers.js";
import { emptyPicture } from "./resizing.js";

/**
 * @typedef {[number, number, number, number]} Edges Left, top, right and bottom (exclusive) in pixels; they may lie
 *   outside the picture.
 * @typedef {{scale: number, offset_x: number, offset_y: number, aspect: number}} CropRule
 */

const DEFAULT_SCALE = 1.4; // a margin of 0.2 on each side

/** How a model's crops are cut: as it learnt them, or with the default margin. */
export function cropRule(metadata) {
  const { crop, width, height } = metadata;
  return crop ?? { scale: DEFAULT_SCALE, offset_x: 0, offset_y: 0, aspect: width / height };
}

/**
 * Where the crop around a box lies.
 *
 * @param {number[]} box cx, cy, w, h in shares of the picture.
 * @param {{height: number, width: number}} picture
 * @param {CropRule} rule
 * @returns {Edges} Edges of at least one pixel.
 */
export function cropEdges(box, { height, width }, rule) {
  const [cx, cy, w, h] = [box[0] * width, box[1] * height, box[2] * width, box[3] * height];
  const tall = Math.max(h, w / rule.aspect);
  const wide = tall * rule.aspect;
  const cropHeight = Math.max(1, tall * rule.scale);
  const cropWidth = Math.max(1, wide * rule.scale);
  const left = roundHalfEven(cx + rule.offset_x * wide - cropWidth / 2);
  const top = roundHalfEven(cy + rule.offset_y * tall - cropHeight / 2);
  return [left, top, left + roundHalfEven(cropWidth), top + roundHalfEven(cropHeight)];
}

/** The part of a picture between edges; outside the picture its border goes on. */
export function cut(picture, [left, top, right, bottom]) {
  const result = emptyPicture(bottom - top, right - left);
  const { data, step } = picture;
  let to = 0;
  for (let y = top; y < bottom; y++) {
    const row = Math.min(Math.max(y, 0), picture.height - 1) * picture.width;
    for (let x = left; x < right; x++) {
      const from = (row + Math.min(Math.max(x, 0), picture.width - 1)) * step;
      result.data[to++] = data[from];
      result.data[to++] = data[from + 1];
      result.data[to++] = data[from + 2];
    }
  }
  return result;
}
