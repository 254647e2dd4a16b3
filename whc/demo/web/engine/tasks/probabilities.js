/** Outputs that are probabilities. */

/** The error in an output, as `rule, got value`; empty if there is none. */
export function wrongProbability(output) {
  const wrong = output.find((value) => !(value >= 0 && value <= 1));
  return wrong === undefined ? "" : `must give probabilities in 0..1, got ${wrong}`;
}

export function indexOfLargest(output) {
  return output.indexOf(output.reduce((largest, value) => Math.max(largest, value)));
}
