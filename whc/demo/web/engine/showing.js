/**
 * What people see of a task: whc/tasks/showing.py.
 *
 * @typedef {[number, number, number]} Colour red, green and blue.
 * @typedef {{name: string, share: number, tick: number|null}} Bar a share 0..1; the tick is the threshold.
 * @typedef {{start: [number, number], end: [number, number], colour: Colour}} Line in shares of the width and height of
 *   the region that the model sees.
 * @typedef {{title: string, colour: Colour, bar: Bar|null, lines: Line[]}} Reading
 */

export const GREEN_COLOUR = [90, 230, 120];
export const BLUE_COLOUR = [120, 180, 255];
export const NOTHING_COLOUR = [170, 170, 170]; // of an answer that nothing is there
export const UNSURE_COLOUR = [215, 190, 140];
export const UNSURE_SHARE = 0.2; // of the way from a threshold to 0 or 1

/** @returns {Reading} */
export function reading(title, colour, { bar = null, lines = [] } = {}) {
  return { title, colour, bar, lines };
}

/** Whether a probability is too near to its threshold for an answer. */
export function isUnsure(probability, threshold) {
  const way = probability < threshold ? threshold : 1 - threshold;
  return Math.abs(probability - threshold) < UNSURE_SHARE * way;
}

/**
 * A reading as a state of its own where the model is not sure of it.
 *
 * @returns {Reading}
 */
export function unsureIf(isNotSure, certain) {
  return isNotSure ? { ...certain, title: `not sure: ${certain.title}`, colour: UNSURE_COLOUR } : certain;
}

export const WARMING_UP = reading("warming up", NOTHING_COLOUR);
