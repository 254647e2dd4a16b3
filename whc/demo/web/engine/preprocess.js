/** Conversion of pictures to a network's input: the tensors that whc/data/preprocess.py makes. */

import { resizeAntialias } from "./antialias.js";
import { resizeArea, resizeBilinear, resizeNearest } from "./resizing.js";

/** @typedef {import("./resizing.js").Picture} Picture */

const INTERPOLATION_METHODS = {
  area: resizeArea,
  bilinear: resizeBilinear,
  bilinear_antialias: resizeAntialias,
  nearest: resizeNearest,
};

// The shape of an input of N windows of T frames, and where a frame's colour lies in its window, in planes of H x W.
const LAYOUTS = {
  still: { shape: (frames) => [3 * frames], plane: (frame, colour) => 3 * frame + colour },
  frame_stack: { shape: (frames) => [3 * frames], plane: (frame, colour) => 3 * frame + colour },
  lstm: { shape: (frames) => [frames, 3], plane: (frame, colour) => 3 * frame + colour },
  cnn3d: { shape: (frames) => [3, frames], plane: (frame, colour, frames) => frames * colour + frame },
};

/** The picture that an ImageData shows; the alpha channel is not read. */
export function pictureOf(imageData) {
  return { data: imageData.data, width: imageData.width, height: imageData.height, step: 4 };
}

/**
 * Stretch a picture.
 *
 * @param {Picture} picture of any size.
 * @param {number} height in pixels.
 * @param {number} width in pixels.
 * @param {string} interpolation a key of INTERPOLATION_METHODS.
 * @returns {Picture} The picture itself where it has this size already.
 */
export function resize(picture, height, width, interpolation = "area") {
  if (picture.height === height && picture.width === width) return picture;
  return INTERPOLATION_METHODS[interpolation](picture, height, width);
}

/**
 * A network's input.
 *
 * @param {Picture[][]} windows N windows of T frames of the model's size, oldest first.
 * @param {string} layout a key of LAYOUTS.
 * @returns {{data: Float32Array, shape: number[]}} Levels in 0..1.
 */
export function toInput(windows, layout) {
  const [{ length: frames }, { height, width }] = [windows[0], windows[0][0]];
  const { shape, plane } = LAYOUTS[layout];
  const pixels = height * width;
  const data = new Float32Array(windows.length * frames * 3 * pixels);
  windows.forEach((window, number) => {
    window.forEach((picture, frame) => {
      for (let colour = 0; colour < 3; colour++) {
        const start = (number * frames * 3 + plane(frame, colour, frames)) * pixels;
        for (let i = 0, from = colour; i < pixels; i++, from += picture.step)
          data[start + i] = picture.data[from] / 255;
      }
    });
  });
  return { data, shape: [windows.length, ...shape(frames), height, width] };
}

const CHOICES = {
  layout: Object.keys(LAYOUTS),
  interpolation: Object.keys(INTERPOLATION_METHODS),
  resize: ["stretch"],
};

/** Refuse metadata whose pictures this version cannot prepare, with a message of one line. */
export function checkInput(name, metadata) {
  for (const [key, choices] of Object.entries(CHOICES)) {
    if (choices.includes(metadata[key])) continue;
    const rule = `must be one of ${choices.join(", ")}, got '${metadata[key]}'`;
    throw new Error(`${name}: ${key}: ${rule}; export the model again, or upgrade whc`);
  }
}
