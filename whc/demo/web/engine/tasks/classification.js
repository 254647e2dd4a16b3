/** The classes that outputs call: whc/tasks/classification/answers.py. */

import { fixed } from "../numbers.js";
import { BLUE_COLOUR, GREEN_COLOUR, UNSURE_SHARE, isUnsure, reading, unsureIf } from "../showing.js";
import { indexOfLargest, wrongProbability } from "./probabilities.js";

const POSITIVE_CLASS = 1;

export class ClassAnswers {
  constructor(labels, config) {
    this.labels = labels;
    this.threshold = config.threshold;
    this.leastOutput = Math.fround(config.threshold); // Python compares in float32 too
    this.isBinary = labels.length === 2;
    this.outputShape = this.isBinary ? [] : [labels.length];
  }

  checkOutput(output) {
    return wrongProbability(output);
  }

  /** The class id that an output calls. */
  called(output) {
    return this.isBinary ? Number(output[0] >= this.leastOutput) : indexOfLargest(output);
  }

  get columns() {
    if (this.isBinary) return ["label", "probability", "positive"];
    return ["label", "probability", ...this.labels.map((label) => `prob_${label}`)];
  }

  cells(output) {
    const classId = this.called(output);
    const label = this.labels[classId];
    if (this.isBinary) return [label, fixed(output[0], 6), String(Number(classId === POSITIVE_CLASS))];
    return [label, ...[output[classId], ...output].map((probability) => fixed(probability, 6))];
  }

  reading(output) {
    const classId = this.called(output);
    const label = this.labels[classId];
    if (!this.isBinary) {
      const [second, best] = [...output].sort((one, other) => one - other).slice(-2);
      const bar = { name: label, share: output[classId], tick: null };
      return unsureIf(best - second < UNSURE_SHARE, reading(label, GREEN_COLOUR, { bar }));
    }
    const bar = { name: this.labels[POSITIVE_CLASS], share: output[0], tick: this.threshold };
    const colour = classId === POSITIVE_CLASS ? GREEN_COLOUR : BLUE_COLOUR;
    return unsureIf(isUnsure(output[0], this.threshold), reading(label, colour, { bar }));
  }
}
