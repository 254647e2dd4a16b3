/** Boxes of objects, rows of score, class, cx, cy, w, h: whc/tasks/detection/answers.py. */

import { roundHalfEven } from "../numbers.js";
import { BLUE_COLOUR, GREEN_COLOUR, NOTHING_COLOUR, isUnsure, reading, unsureIf } from "../showing.js";

const NUMBERS = 6; // of a box
const BOX_COLOURS = [GREEN_COLOUR, BLUE_COLOUR, [255, 180, 80], [240, 120, 240], [255, 90, 90], [90, 220, 220]];

export class BoxAnswers {
  givesBoxes = true;

  constructor(labels, config) {
    this.labels = labels;
    this.threshold = config.threshold;
    this.leastScore = Math.fround(config.threshold); // Python compares in float32 too
    this.outputShape = [config.max_boxes, NUMBERS];
  }

  checkOutput(output) {
    const infinite = output.find((value) => !Number.isFinite(value));
    if (infinite !== undefined) return `must give finite numbers, got ${infinite}`;
    const wrong = rowsOf(output).find(([score]) => !(score >= 0 && score <= 1));
    return wrong === undefined ? "" : `must give scores in 0..1, got ${wrong[0]}`;
  }

  get columns() {
    return ["count", "boxes"];
  }

  cells(output) {
    const boxes = this.foundBoxes(output).map((box) => box.map((value) => roundHalfEven(value * 1e6) / 1e6));
    return [String(boxes.length), JSON.stringify(boxes)];
  }

  reading(output) {
    const found = this.foundBoxes(output);
    const counts = this.labels.map((label, i) => [found.filter((box) => box[1] === i).length, label]);
    const present = counts.filter(([count]) => count).map(([count, label]) => `${count} ${label}`);
    const title = present.join(", ") || `no ${this.labels.length === 1 ? this.labels[0] : "object"}`;
    const colour = found.length ? GREEN_COLOUR : NOTHING_COLOUR;
    return unsureIf(isUnsure(output[0], this.threshold), reading(title, colour, { lines: found.flatMap(outline) }));
  }

  /** The boxes from the threshold on. */
  foundBoxes(output) {
    return rowsOf(output).filter(([score]) => score >= this.leastScore);
  }
}

function rowsOf(output) {
  return Array.from({ length: output.length / NUMBERS }, (_, i) => [...output.slice(i * NUMBERS, (i + 1) * NUMBERS)]);
}

/** The four sides of a box. */
function outline([, classId, cx, cy, w, h]) {
  const colour = BOX_COLOURS[Math.trunc(classId) % BOX_COLOURS.length];
  const [left, top, right, bottom] = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2];
  const corners = [
    [left, top],
    [right, top],
    [right, bottom],
    [left, bottom],
  ];
  return corners.map((end, i) => ({ start: corners.at(i - 1), end, colour }));
}
