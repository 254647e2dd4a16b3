/** Numbers as Python rounds and writes them, so that the page shows what the command line shows. */

/** The nearest whole number; halves go to the even one. */
export function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** A number with so many digits after the point, as Python's format `.<digits>f`: halves go to the even digit. */
export function fixed(value, digits) {
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const scaled = Math.abs(value) * 10 ** digits;
  const isHalf = scaled < 2 ** 52 && scaled - Math.floor(scaled) === 0.5;
  return sign + (isHalf ? roundHalfEven(scaled) / 10 ** digits : Math.abs(value)).toFixed(digits);
}

/** How often a positive divisor fits into a dividend, exactly (Python's `//`). */
export function floorDivide(dividend, divisor) {
  return Math.round((dividend - (((dividend % divisor) + divisor) % divisor)) / divisor);
}

/** A number of things: `1 face`, `2 faces`. */
export function quantity(count, noun) {
  return count === 1 ? `${count} ${noun}` : `${count} ${noun}s`;
}
