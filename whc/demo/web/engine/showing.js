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
export const GREY_COLOUR = [170, 170, 170];

/** @returns {Reading} */
export function reading(title, colour, { bar = null, lines = [] } = {}) {
  return { title, colour, bar, lines };
}

export const UNDECIDED = "not decided yet"; // answers came, but no state
export const WARMING_UP = reading("warming up", GREY_COLOUR);
