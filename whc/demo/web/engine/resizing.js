/**
 * Pictures at another size, equal to cv2.resize on uint8 level by level.
 *
 * @typedef {{data: Uint8Array|Uint8ClampedArray, width: number, height: number, step: number}} Picture
 *   Rows of pixels of `step` bytes, of which the first three are red, green and blue: 3 here, 4 in an ImageData.
 */

import { roundHalfEven } from "./numbers.js";

const COEFFICIENT = 2048; // one, in OpenCV's fixed-point weights
const MIN_SHARE = 1e-3; // of a pixel at the edge of an area, below which OpenCV leaves it out

/** An empty picture (all black). */
export function emptyPicture(height, width) {
  return { data: new Uint8ClampedArray(height * width * 3), width, height, step: 3 };
}

/** Average areas to shrink a picture; bilinear where one of its sides grows. */
export function resizeArea(picture, height, width) {
  if (picture.height < height || picture.width < width) return resizeBilinear(picture, height, width);
  const down = scaleOf(picture.height, height);
  const across = scaleOf(picture.width, width);
  if (Number.isInteger(down) && Number.isInteger(across)) return averageBlocks(picture, height, width, down, across);
  return averageAreas(picture, height, width, down, across);
}

/** The nearest pixel to the left and above. */
export function resizeNearest(picture, height, width) {
  const result = emptyPicture(height, width);
  const rows = nearestPlaces(picture.height, height);
  const columns = nearestPlaces(picture.width, width);
  let to = 0;
  for (const y of rows) {
    for (const x of columns) {
      const from = (y * picture.width + x) * picture.step;
      for (let channel = 0; channel < 3; channel++) result.data[to++] = picture.data[from + channel];
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
  const result = emptyPicture(height, width);
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
    const to = y * width * 3;
    for (let i = 0; i < width * 3; i++) {
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
  const row = new Int32Array(places.length * 3);
  const { data, width, step } = picture;
  for (let i = 0, to = 0; i < places.length; i++) {
    const left = (y * width + places[i]) * step;
    const right = places[i] + 1 < width ? left + step : left;
    for (let channel = 0; channel < 3; channel++) {
      row[to++] = data[left + channel] * firstWeights[i] + data[right + channel] * secondWeights[i];
    }
  }
  return row;
}

/** The mean of each block of so many rows and columns. */
function averageBlocks(picture, height, width, down, across) {
  const result = emptyPicture(height, width);
  const { data, step } = picture;
  const share = Math.fround(1 / (down * across));
  const isSquareOfTwo = down === 2 && across === 2; // the only block whose halves OpenCV rounds up
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const corner = (y * down * picture.width + x * across) * step;
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let row = 0; row < down; row++) {
          let from = corner + row * picture.width * step + channel;
          for (let column = 0; column < across; column++, from += step) sum += data[from];
        }
        // A clamped array rounds as OpenCV does, halves to the even level.
        result.data[to++] = isSquareOfTwo ? (sum + 2) >> 2 : Math.fround(sum * share);
      }
    }
  }
  return result;
}

/** Means of areas that cut through pixels, summed as float32 in OpenCV's order: along each row, then rows. */
function averageAreas(picture, height, width, down, across) {
  const result = emptyPicture(height, width);
  const columns = areaShares(picture.width, width, across);
  const rows = areaShares(picture.height, height, down);
  const row = new Float32Array(width * 3);
  const sums = new Float32Array(width * 3);
  let ready = -1; // the old row that `row` has
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (let i = rows.starts[y]; i < rows.starts[y + 1]; i++) {
      if (rows.places[i] !== ready) averageRow(picture, rows.places[i], columns, row);
      ready = rows.places[i];
      const share = rows.shares[i];
      for (let j = 0; j < sums.length; j++) sums[j] += Math.fround(share * row[j]);
    }
    result.data.set(sums, y * width * 3);
  }
  return result;
}

function averageRow({ data, width, step }, y, { starts, places, shares }, row) {
  for (let x = 0, to = 0; x < starts.length - 1; x++) {
    let red = 0;
    let green = 0;
    let blue = 0;
    let from = (y * width + places[starts[x]]) * step;
    for (let i = starts[x]; i < starts[x + 1]; i++, from += step) {
      const share = shares[i];
      red = Math.fround(red + Math.fround(data[from] * share));
      green = Math.fround(green + Math.fround(data[from + 1] * share));
      blue = Math.fround(blue + Math.fround(data[from + 2] * share));
    }
    row[to++] = red;
    row[to++] = green;
    row[to++] = blue;
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
