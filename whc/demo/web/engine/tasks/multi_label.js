/** The labels that outputs call: whc/tasks/multi_label/answers.py. */

import { fixed } from "../numbers.js";
import { GREEN_COLOUR, NOTHING_COLOUR, isUnsure, reading, unsureIf } from "../showing.js";
import { indexOfLargest, wrongProbability } from "./probabilities.js";

const NO_LABEL = "no label";

export class LabelAnswers {
  constructor(labels, config) {
    this.labels = labels;
    this.threshold = config.threshold;
    this.leastOutput = Math.fround(config.threshold); // Python compares in float32 too
    this.outputShape = [labels.length];
  }

  checkOutput(output) {
    return wrongProbability(output);
  }

  /** The labels that an output calls. */
  called(output) {
    return this.labels.filter((_, i) => output[i] >= this.leastOutput);
  }

  get columns() {
    return ["labels", ...this.labels.map((label) => `prob_${label}`)];
  }

  cells(output) {
    return [this.called(output).join(";"), ...output.map((probability) => fixed(probability, 6))];
  }

  reading(output) {
    const called = this.called(output);
    const likeliest = indexOfLargest(output);
    const bar = { name: this.labels[likeliest], share: output[likeliest], tick: this.threshold };
    const certain = reading(called.join(", ") || NO_LABEL, called.length ? GREEN_COLOUR : NOTHING_COLOUR, { bar });
    return unsureIf(isUnsure(bar.share, this.threshold), certain);
  }
}
