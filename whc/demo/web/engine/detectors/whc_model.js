/** Boxes of a detection model that whc exported: whc/demo/detectors/whc_model.py. */

import { bestBoxes } from "../boxes.js";

const MAX_OVERLAP = 0.7; // of boxes of several classes around one object

/** A function from a picture to boxes, by a model; `label` is the only class to find, null for all. */
export function finder(model, label) {
  const classId = label === null ? null : model.answers.labels.indexOf(label);
  return async (picture) => {
    const [output] = await model.run([[model.prepare(picture)]]);
    const found = model.answers.foundBoxes(output).filter((box) => classId === null || box[1] === classId);
    return bestBoxes(
      found.map(([score, , ...box]) => [score, ...box]),
      MAX_OVERLAP,
    );
  };
}
