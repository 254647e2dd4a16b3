/** What a model says of the frames of a stream: whc/demo/viewing.py, people.py and drawing.py. */

import { cropEdges, cropRule, cut } from "./cropping.js";
import { quantity } from "./numbers.js";
import { pictureOf } from "./preprocess.js";
import { NOTHING_COLOUR, WARMING_UP, reading } from "./showing.js";
import { MEMORY_SECONDS, Tracker } from "./tracking.js";
import { Window } from "./window.js";

/**
 * @typedef {import("./showing.js").Reading} Reading
 * @typedef {object} Sighting What the model says of one part of a frame.
 * @property {import("./cropping.js").Edges|null} edges of the part that the model saw, null for the complete frame.
 * @property {number|null} identity of the person, from 1; null without a detector.
 * @property {number|null} score of the detector.
 * @property {Reading|null} reading the latest, null before the first.
 * @property {number[]|null} output the latest.
 * @property {boolean} isFresh whether they are of this frame.
 * @property {string} tag what is written at the part's edges, empty without a detector.
 */

const MEMORY_FRAMES = 2.5; // a slow stream is remembered for more than a frame
const MAX_ASPECT_RATIO = 1.5; // of a picture to the model's input; a wider picture is no crop

/** The window of the frames of one person, and the latest output. */
class Viewer {
  #window;
  output = null;

  constructor(model, fps) {
    this.model = model;
    this.#window = new Window(model.metadata.frames, model.metadata.frame_rate, fps);
  }

  /** Look at the next frame; `passesMs` takes the milliseconds of a forward pass. */
  async see(picture, seconds, passesMs) {
    if (!this.#window.takes(seconds)) return false;
    this.#window.push(this.model.prepare(picture));
    if (!this.#window.isFull) return false;
    const started = performance.now();
    [this.output] = await this.model.run([this.#window.stack()]);
    passesMs.push(performance.now() - started);
    return true;
  }

  get reading() {
    return this.output && this.model.answers.reading(this.output);
  }
}

/**
 * Looks at the frames of one stream: at complete frames, or at each person that a detector finds.
 *
 * Call `next` for each frame in order of time, and wait for it; a stream that jumps in time needs a new Stream.
 */
export class Stream {
  #model;
  #detector;
  #fps;
  #rule;
  #tracker;
  #whole;
  #viewers = new Map();

  /**
   * @param {import("./model.js").Model} model
   * @param {{what: string, find: Function}|null} detector of the parts that the model sees.
   * @param {{fps: number|null}} options frames a second of the stream; null: every frame counts.
   */
  constructor(model, detector, { fps }) {
    if (detector && model.answers.givesBoxes) {
      throw new Error(`${model.name}: must say something of each box, not find boxes itself; leave the detector out`);
    }
    [this.#model, this.#detector, this.#fps] = [model, detector, fps];
    this.#rule = cropRule(model.metadata);
    this.#tracker = new Tracker(Math.max(MEMORY_SECONDS, fps ? MEMORY_FRAMES / fps : 0));
    this.#whole = new Viewer(model, fps);
  }

  /**
   * What the model says of the next frame.
   *
   * @param {ImageData} imageData
   * @param {number} seconds its time.
   * @returns {Promise<{sightings: Sighting[], title: Reading, what: string, modelMs: number|null,
   *   detectorMs: number|null, warning: string}>} `title` is the headline; `modelMs` the milliseconds of a forward pass
   *   with its input, the mean of several; `warning` says why the model should not be believed, empty if nothing does.
   */
  async next(imageData, seconds) {
    const picture = pictureOf(imageData);
    const passesMs = [];
    const what = this.#detector?.what ?? "";
    if (!this.#detector) {
      const isFresh = await this.#whole.see(picture, seconds, passesMs);
      const sighting = this.#sighting(this.#whole, isFresh, null, null, null);
      const warning = doubt(picture, this.#model);
      return {
        sightings: [sighting],
        title: title([sighting], what),
        what,
        modelMs: mean(passesMs),
        detectorMs: null,
        warning,
      };
    }
    const started = performance.now();
    const boxes = await this.#detector.find(imageData);
    const detectorMs = performance.now() - started;
    const sightings = await this.#seePeople(picture, boxes, seconds, passesMs);
    return { sightings, title: title(sightings, what), what, modelMs: mean(passesMs), detectorMs, warning: "" };
  }

  async #seePeople(picture, boxes, seconds, passesMs) {
    const identities = this.#tracker.follow(
      boxes.map(([, ...box]) => box),
      seconds,
    );
    const sightings = [];
    for (const [i, [score, ...box]] of boxes.entries()) {
      const identity = identities[i];
      const edges = cropEdges(box, picture, this.#rule);
      if (!this.#viewers.has(identity)) this.#viewers.set(identity, new Viewer(this.#model, this.#fps));
      const viewer = this.#viewers.get(identity);
      const isFresh = await viewer.see(cut(picture, edges), seconds, passesMs);
      sightings.push(this.#sighting(viewer, isFresh, edges, identity, score));
    }
    const remembered = this.#tracker.identities;
    for (const identity of this.#viewers.keys()) if (!remembered.has(identity)) this.#viewers.delete(identity);
    return sightings;
  }

  #sighting(viewer, isFresh, edges, identity, score) {
    const { reading: latest, output } = viewer;
    const tag = identity === null ? "" : `#${identity} ${(latest ?? WARMING_UP).title}`;
    return { edges, identity, score, reading: latest, output, isFresh, tag };
  }
}

/** What the headline says: the only reading, or how many people there are. */
function title(sightings, what) {
  if (sightings.length === 1) return sightings[0].reading ?? WARMING_UP;
  if (sightings.length === 0) return reading(`no ${what} found`, NOTHING_COLOUR);
  return reading(quantity(sightings.length, what), NOTHING_COLOUR);
}

/** Why the complete picture is hardly what the model learnt; empty if nothing speaks against it. */
function doubt({ height, width }, { metadata, answers }) {
  if (answers.givesBoxes) return "";
  if (metadata.crop) {
    const detector = metadata.crop.detector || "a detector";
    return `the model learnt crops around the boxes of ${detector}, and saw the complete picture`;
  }
  const ratio = (width * metadata.height) / (height * metadata.width);
  if (1 / MAX_ASPECT_RATIO <= ratio && ratio <= MAX_ASPECT_RATIO) return "";
  return `the complete picture of ${width}x${height} was squeezed into ${metadata.width}x${metadata.height}`;
}

function mean(numbers) {
  return numbers.length ? numbers.reduce((sum, number) => sum + number, 0) / numbers.length : null;
}
