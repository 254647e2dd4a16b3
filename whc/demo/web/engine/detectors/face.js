/** Faces by OpenCV's cascades, upright and tilted: whc/demo/detectors/face.py. */

import { bestBoxes } from "../boxes.js";
import { CascadeClassifier } from "../cascade.js";
import { greyOf, mirrored, moved } from "../grey.js";
import { shrink } from "../resizing.js";
import { roundHalfEven } from "../numbers.js";

const MAX_OVERLAP = 0.3;
const SCALE_STEP = 1.15; // from one size of faces to the next
const WEIGHT_SCALE = 2.5; // a clear face has a weight of about 6, which becomes a score of 0.9
const TILTED_LOSS = 0.05; // of the score, so that an upright face wins
const [FRONTAL_TRUST, PROFILE_TRUST] = [1, 0.5];

/**
 * A function from a picture to boxes.
 *
 * @param {{frontal: object, profile: object}} cascades
 * @param {object} config the parameters of face.py.
 */
export function faceFinder({ frontal, profile }, config) {
  const looks = [
    {
      cascade: new CascadeClassifier(frontal),
      trust: FRONTAL_TRUST,
      neighbours: config.frontal_neighbours,
      sides: [false],
    },
    {
      cascade: new CascadeClassifier(profile),
      trust: PROFILE_TRUST,
      neighbours: config.profile_neighbours,
      sides: [false, true],
    },
  ];
  return async (picture) => {
    const share = Math.min(1, config.longest_side / Math.max(picture.height, picture.width));
    const grey = share < 1 ? shrink(greyOf(picture), share) : greyOf(picture);
    const boxes = config.tilts.flatMap((degrees) => {
      const { tilted, back } = tilt(grey, degrees);
      return looks
        .flatMap((look) => upright(tilted, look, config.least_share))
        .map(([score, x, y, side]) => inShares([score - (degrees ? TILTED_LOSS : 0), ...back(x, y), side], grey));
    });
    return apart(bestBoxes(boxes, MAX_OVERLAP));
  };
}

function inShares([score, x, y, side], { height, width }) {
  return [Math.min(Math.max(score, 0), 1), x / width, y / height, side / width, side / height];
}

/** The picture turned about its middle, and the map of places back to the picture that was not turned. */
function tilt(grey, degrees) {
  if (!degrees) return { tilted: grey, back: (x, y) => [x, y] };
  const [cos, sin] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
  const [cx, cy] = [grey.width / 2, grey.height / 2];
  const inverse = [cos, -sin, cx - cos * cx + sin * cy, sin, cos, cy - sin * cx - cos * cy];
  const [a, b, c, d, e, f] = inverse;
  return { tilted: moved(grey, inverse), back: (x, y) => [a * x + b * y + c, d * x + e * y + f] };
}

/** Upright faces: score, middle x and y, and side, in pixels. */
function upright(grey, { cascade, trust, neighbours, sides }, leastShare) {
  const least = Math.max(1, roundHalfEven(leastShare * Math.min(grey.height, grey.width)));
  return sides.flatMap((isMirrored) => {
    const windows = cascade.find(isMirrored ? mirrored(grey) : grey, { step: SCALE_STEP, neighbours, least });
    return windows.map(([left, top, side, weight]) => {
      const x = left + side / 2;
      return [trust / (1 + Math.exp(-weight / WEIGHT_SCALE)), isMirrored ? grey.width - x : x, top + side / 2, side];
    });
  });
}

/** Boxes without those whose centre lies in a better one: the two cascades frame a face differently. */
function apart(boxes) {
  const kept = [];
  for (const box of boxes) {
    const isIn = (better) =>
      Math.abs(better[1] - box[1]) < better[3] / 2 && Math.abs(better[2] - box[2]) < better[4] / 2;
    if (!kept.some(isIn)) kept.push(box);
  }
  return kept;
}
