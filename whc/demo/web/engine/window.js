/** The latest frames of a stream, at the distance in time of the frames in training: whc/demo/window.py. */

import { floorDivide } from "./numbers.js";

/**
 * Takes the frames of a stream one by one and keeps the latest `frames` that are 1/`frameRate` s apart.
 *
 * Every frame enters if either rate is unknown (null). Otherwise a grid of instants starts at the first frame, and the
 * frame nearest to each instant enters.
 */
export class Window {
  #frames = [];
  #count;
  #step;
  #tolerance;
  #next = 0;

  /**
   * @param {number} frames of one input of the model.
   * @param {number|null} frameRate of the model, in frames a second.
   * @param {number|null} streamFps frames a second of the stream.
   */
  constructor(frames, frameRate, streamFps) {
    this.#count = frames;
    this.#step = frameRate && streamFps ? 1 / frameRate : 0;
    this.#tolerance = streamFps ? 0.5 / streamFps : 0;
  }

  /** Whether the frame at this instant enters; call it once for each frame, in order of time. */
  takes(seconds) {
    if (!this.#step) return true;
    if (this.#frames.length === 0) this.#next = seconds;
    const lead = seconds + this.#tolerance - this.#next;
    if (lead < 0) return false;
    this.#next += (floorDivide(lead, this.#step) + 1) * this.#step; // skips the instants in a gap of the stream
    return true;
  }

  /** Add a frame of the model's size. */
  push(picture) {
    this.#frames.push(picture);
    if (this.#frames.length > this.#count) this.#frames.shift();
  }

  /** Whether there are enough frames for the model. */
  get isFull() {
    return this.#frames.length === this.#count;
  }

  /** The frames in the window, oldest first. */
  stack() {
    return [...this.#frames];
  }
}
