// How long passes and frames take.

import { duration } from "./chart.js";

const PASSES = 60;

/** The last values of a number, and their mean. */
class Latest {
  #values = [];

  add(value) {
    this.#values.push(value);
    if (this.#values.length > PASSES) this.#values.shift();
  }

  get mean() {
    return this.#values.length ? this.#values.reduce((sum, value) => sum + value, 0) / this.#values.length : null;
  }
}

/** Milliseconds of passes, for each of several networks. */
export class Speeds {
  #latest = new Map();

  /** Add a pass; null or 0: there was none. */
  add(who, ms) {
    if (!ms) return;
    if (!this.#latest.has(who)) this.#latest.set(who, new Latest());
    this.#latest.get(who).add(ms);
  }

  mean(who) {
    return this.#latest.get(who)?.mean ?? null;
  }

  shown(who) {
    const ms = this.mean(who);
    return ms === null ? "–" : duration(ms);
  }
}

/** Frames a second, and what a frame takes. */
export class Pace {
  #gaps = new Latest();
  #frames = new Latest();
  #last = null;

  add(now, frameMs) {
    if (this.#last !== null && now - this.#last < 2000) this.#gaps.add(now - this.#last);
    this.#last = now;
    this.#frames.add(frameMs);
  }

  get perSecond() {
    return this.#gaps.mean ? 1000 / this.#gaps.mean : 0;
  }

  get frameMs() {
    return this.#frames.mean ?? 0;
  }
}
