/** The tasks by the names in files. */

import { ClassAnswers } from "./classification.js";
import { BoxAnswers } from "./detection.js";
import { PoseAnswers } from "./head_pose.js";
import { LabelAnswers } from "./multi_label.js";

const TASKS = {
  classification: ClassAnswers,
  detection: BoxAnswers,
  head_pose: PoseAnswers,
  multi_label: LabelAnswers,
};

/**
 * What a model's outputs mean.
 *
 * Answers have `outputShape`, `checkOutput(output)`, `columns` and `cells(output)` of the table of a stream's frames,
 * and `reading(output)`; an output is an array of numbers. Tasks that decide have `smoothing`, its parameters, too, and
 * `votes(output, hysteresis, earlier)` and `readingIn(state, output)`.
 */
export function answersOf(name, { task, labels, task_config: config }) {
  if (!Object.hasOwn(TASKS, task)) {
    throw new Error(`${name}: task: must be one of ${Object.keys(TASKS).join(", ")}, got '${task}'; upgrade whc`);
  }
  return new TASKS[task](labels, config);
}
