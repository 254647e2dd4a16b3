/**
 * Pictures at another size, equal to cv2.resize on uint8 level by level.
 *
 * @typedef {{data: Uint8Array|Uint8ClampedArray, width: number, height: number, step: number}} Picture
 *   Rows of pixels of `step` bytes, the first of which are red, green and blue: 3 here, 4 in an ImageData. A picture
 *   with a step of 1 is grey.
 */

import { roundHalfEven } from "./numbers.js";

const COEFFICIENT = 2048; // one, in OpenCV's fixed-point weights
const MIN_SHARE = 1e-3; // of a pixel at the edge of an area, below which OpenCV leaves it out

/** A black picture, of three colours or grey. */
export function emptyPicture(height, width, step = 3) {
  return { data: new Uint8ClampedArray(height * width * step), width, height, step };
}

function coloursOf(picture) {
  return Math.min(picture.step, 3);
}

/** Average areas to shrink a picture; bilinear where one of its sides grows. */
export function resizeArea(picture, height, width) {
  if (picture.height < height || picture.width < width) return resizeBilinear(picture, height, width);
  return average(picture, height, width, scaleOf(picture.height, height), scaleOf(picture.width, width));
}

/** Average areas to shrink a picture to a share of its sides, which are rounded. */
export function shrink(picture, share) {
  const [height, width] = [roundHalfEven(picture.height * share), roundHalfEven(picture.width * share)];
  return average(picture, height, width, 1 / share, 1 / share);
}

function average(picture, height, width, down, across) {
  const isWhole = Number.isInteger(down) && Number.isInteger(across);
  return (isWhole ? averageBlocks : averageAreas)(picture, height, width, down, across);
}

/** The nearest pixel to the left and above. */
export function resizeNearest(picture, height, width) {
  const colours = coloursOf(picture);
  const result = emptyPicture(height, width, colours);
  const rows = nearestPlaces(picture.height, height);
  const columns = nearestPlaces(picture.width, width);
  let to = 0;
  for (const y of rows) {
    for (const x of columns) {
      const from = (y * picture.width + x) * picture.step;
      for (let colour = 0; colour < colours; colour++) result.data[to++] = picture.data[from + colour];
    }
  }
  return result;
}

/** The four nearest pixels, weighted in fixed-point numbers. */
export function resizeBilinear(picture, height, width) {
  const down = scaleOf(picture.height, height);
  const across = scaleOf(picture.width, width);
  if (down === 2 && across === 2) return averageBlocks(picture, height, width, 2, 2); // OpenCV does so too
  const columns = bilinearWeights(picture.width, width, across, true);
  const rows = bilinearWeights(picture.height, height, down, false);
  const colours = coloursOf(picture);
  const result = emptyPicture(height, width, colours);
  const cache = new Map(); // of rows that are already resized
  const resizedRow = (y) => {
    if (!cache.has(y)) cache.set(y, bilinearRow(picture, y, columns));
    return cache.get(y);
  };
  for (let y = 0; y < height; y++) {
    const first = Math.min(Math.max(rows.places[y], 0), picture.height - 1);
    const second = Math.min(Math.max(rows.places[y] + 1, 0), picture.height - 1);
    for (const cached of cache.keys()) if (cached < first) cache.delete(cached);
    const [above, below] = [resizedRow(first), resizedRow(second)];
    const [weightAbove, weightBelow] = [rows.firstWeights[y], rows.secondWeights[y]];
    const to = y * width * colours;
    for (let i = 0; i < width * colours; i++) {
      const sum = ((weightAbove * (above[i] >> 4)) >> 16) + ((weightBelow * (below[i] >> 4)) >> 16);
      result.data[to + i] = (sum + 2) >> 2;
    }
  }
  return result;
}

/** Pixels of a picture for one pixel of its new size; written as OpenCV does, for the same last bit. */
function scaleOf(size, newSize) {
  return 1 / (newSize / size);
}

function nearestPlaces(size, newSize) {
  const scale = scaleOf(size, newSize);
  return Int32Array.from({ length: newSize }, (_, i) => Math.min(Math.floor(i * scale), size - 1));
}

function bilinearWeights(size, newSize, scale, isClamped) {
  const places = new Int32Array(newSize);
  const firstWeights = new Int32Array(newSize);
  const secondWeights = new Int32Array(newSize);
  for (let i = 0; i < newSize; i++) {
    const exact = Math.fround((i + 0.5) * scale - 0.5);
    let place = Math.floor(exact);
    let share = Math.fround(exact - place);
    if (isClamped && (place < 0 || place >= size - 1)) [place, share] = [Math.min(Math.max(place, 0), size - 1), 0];
    places[i] = place;
    firstWeights[i] = roundHalfEven(Math.fround(1 - share) * COEFFICIENT);
    secondWeights[i] = roundHalfEven(share * COEFFICIENT);
  }
  return { places, firstWeights, secondWeights };
}

function bilinearRow(picture, y, { places, firstWeights, secondWeights }) {
  const { data, width, step } = picture;
  const colours = coloursOf(picture);
  const row = new Int32Array(places.length * colours);
  for (let i = 0, to = 0; i < places.length; i++) {
    const left = (y * width + places[i]) * step;
    const right = places[i] + 1 < width ? left + step : left;
    for (let colour = 0; colour < colours; colour++) {
      row[to++] = data[left + colour] * firstWeights[i] + data[right + colour] * secondWeights[i];
    }
  }
  return row;
}

/** The mean of each block of so many rows and columns; the last blocks may be cut off. */
function averageBlocks(picture, height, width, down, across) {
  const colours = coloursOf(picture);
  const result = emptyPicture(height, width, colours);
  const { data, step } = picture;
  const isSquareOfTwo = down === 2 && across === 2; // the only block whose halves OpenCV rounds up
  for (let y = 0, to = 0; y < height; y++) {
    const rows = Math.min(down, picture.height - y * down);
    for (let x = 0; x < width; x++) {
      const columns = Math.min(across, picture.width - x * across);
      const corner = (y * down * picture.width + x * across) * step;
      for (let colour = 0; colour < colours; colour++) {
        let sum = 0;
        for (let row = 0; row < rows; row++) {
          let from = corner + row * picture.width * step + colour;
          for (let column = 0; column < columns; column++, from += step) sum += data[from];
        }
        // A clamped array rounds as OpenCV does, halves to the even level.
        const mean = Math.fround(sum * Math.fround(1 / (rows * columns)));
        result.data[to++] = isSquareOfTwo && rows * columns === 4 ? (sum + 2) >> 2 : mean;
      }
    }
  }
  return result;
}

/** Means of areas that cut through pixels, summed as float32 in OpenCV's order: along each row, then rows. */
function averageAreas(picture, height, width, down, across) {
  const colours = coloursOf(picture);
  const result = emptyPicture(height, width, colours);
  const columns = areaShares(picture.width, width, across);
  const rows = areaShares(picture.height, height, down);
  const row = new Float32Array(width * colours);
  const sums = new Float32Array(width * colours);
  let ready = -1; // the old row that `row` has
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (let i = rows.starts[y]; i < rows.starts[y + 1]; i++) {
      if (rows.places[i] !== ready) averageRow(picture, rows.places[i], columns, row, colours);
      ready = rows.places[i];
      const share = rows.shares[i];
      for (let j = 0; j < sums.length; j++) sums[j] += Math.fround(share * row[j]);
    }
    result.data.set(sums, y * width * colours);
  }
  return result;
}

function averageRow({ data, width, step }, y, { starts, places, shares }, row, colours) {
  for (let colour = 0; colour < colours; colour++) {
    for (let x = 0, to = colour; x < starts.length - 1; x++, to += colours) {
      let sum = 0;
      let from = (y * width + places[starts[x]]) * step + colour;
      for (let i = starts[x]; i < starts[x + 1]; i++, from += step) {
        sum = Math.fround(sum + Math.fround(data[from] * shares[i]));
      }
      row[to] = sum;
    }
  }
}

/**
 * Which old pixels lie in each new one, and which share of it each covers.
 *
 * @returns {{starts: Int32Array, places: Int32Array, shares: Float32Array}} Those of new pixel i are from starts[i] to
 *   starts[i + 1]; their places follow each other.
 */
function areaShares(size, newSize, scale) {
  const [starts, places, shares] = [[0], [], []];
  const add = (place, share) => {
    places.push(place);
    shares.push(share);
  };
  for (let i = 0; i < newSize; i++) {
    const start = i * scale;
    const stop = start + scale;
    const extent = Math.min(scale, size - start);
    const lastWhole = Math.min(Math.floor(stop), size - 1);
    const firstWhole = Math.min(Math.ceil(start), lastWhole);
    if (firstWhole - start > MIN_SHARE) add(firstWhole - 1, (firstWhole - start) / extent);
    for (let place = firstWhole; place < lastWhole; place++) add(place, 1 / extent);
    if (stop - lastWhole > MIN_SHARE) add(lastWhole, Math.min(stop - lastWhole, 1, extent) / extent);
    starts.push(places.length);
  }
  return { starts: Int32Array.from(starts), places: Int32Array.from(places), shares: Float32Array.from(shares) };
}
