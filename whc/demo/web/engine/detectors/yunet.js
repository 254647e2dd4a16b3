/** Faces by YuNet: whc/demo/detectors/yunet.py, with the decoding of OpenCV's FaceDetectorYN. */

import { bestBoxes } from "../boxes.js";
import { roundHalfEven } from "../numbers.js";
import { resizeArea } from "../resizing.js";

const STRIDES = [8, 16, 32];
const MAX_OVERLAP = 0.3;
const MIN_SIDE_PIXELS = 64;

/** @type {import("./index.js").Load} */
export async function load(run, { form, config }) {
  const [fixedHeight, fixedWidth] = form.shape.slice(2);
  return async (picture) => {
    const scale = Math.min(1, config.longest_side / Math.max(picture.height, picture.width));
    const [height, width] = [picture.height, picture.width].map((side) =>
      Math.max(MIN_SIDE_PIXELS, roundHalfEven(side * scale)),
    );
    const resized = height === picture.height && width === picture.width ? picture : resizeArea(picture, height, width);
    const padded = [sideOf(fixedHeight, height), sideOf(fixedWidth, width)];
    const outputs = await run(bluesFirst(resized, padded), [1, 3, ...padded]);
    const faces = STRIDES.flatMap((stride) => decode(outputs, stride, padded[1], config.least_score));
    const boxes = apart(faces).map(([score, left, top, w, h]) => [
      score,
      (left + w / 2) / width,
      (top + h / 2) / height,
      w / width,
      h / height,
    ]);
    return bestBoxes(boxes, MAX_OVERLAP);
  };
}

/** A side of the network's input: that of the file, or the next multiple of the largest stride. */
function sideOf(fixed, side) {
  return typeof fixed === "number" ? fixed : Math.ceil(side / STRIDES.at(-1)) * STRIDES.at(-1);
}

/** Levels 0..255 in planes of blue, green and red, black on the right and below the picture. */
function bluesFirst({ data, width, height, step }, [paddedHeight, paddedWidth]) {
  const planes = new Float32Array(3 * paddedHeight * paddedWidth);
  for (let plane = 0; plane < 3; plane++) {
    for (let y = 0; y < height; y++) {
      const to = (plane * paddedHeight + y) * paddedWidth;
      for (let x = 0; x < width; x++) planes[to + x] = data[(y * width + x) * step + 2 - plane];
    }
  }
  return planes;
}

/** The faces of a stride: score, left, top, width and height in pixels. */
function decode(outputs, stride, inputWidth, leastScore) {
  const [classes, objects, boxes] = ["cls", "obj", "bbox"].map((kind) => outputs[`${kind}_${stride}`].data);
  const columns = inputWidth / stride;
  const faces = [];
  for (let i = 0; i < classes.length; i++) {
    const score = Math.sqrt(clamp(classes[i]) * clamp(objects[i]));
    if (score < leastScore) continue;
    const [right, down, logWidth, logHeight] = boxes.subarray(4 * i, 4 * i + 4);
    const [width, height] = [Math.exp(logWidth) * stride, Math.exp(logHeight) * stride];
    const left = ((i % columns) + right) * stride - width / 2;
    faces.push([score, left, (Math.floor(i / columns) + down) * stride - height / 2, width, height]);
  }
  return faces;
}

function clamp(value) {
  return Math.min(Math.max(value, 0), 1);
}

/** OpenCV leaves out faces that overlap a better one, in whole pixels. */
function apart(faces) {
  const kept = [];
  for (const face of faces.sort((a, b) => b[0] - a[0])) {
    const rectangle = face.slice(1).map(Math.trunc);
    if (kept.every((better) => overlapInPixels(better.rectangle, rectangle) <= MAX_OVERLAP))
      kept.push({ face, rectangle });
  }
  return kept.map(({ face }) => face);
}

function overlapInPixels([x, y, w, h], [otherX, otherY, otherW, otherH]) {
  const across = Math.min(x + w, otherX + otherW) - Math.max(x, otherX);
  const down = Math.min(y + h, otherY + otherH) - Math.max(y, otherY);
  const common = across > 0 && down > 0 ? across * down : 0;
  return common / (w * h + otherW * otherH - common);
}
