// How long passes and frames take.

import { duration } from "./chart.js";

const PASSES = 60;

/** The last values of a number, and the mean of their middle half: a pause of the browser is no part of a pass. */
class Latest {
  #values = [];

  add(value) {
    this.#values.push(value);
    if (this.#values.length > PASSES) this.#values.shift();
  }

  get mean() {
    const sorted = this.#values.toSorted((a, b) => a - b);
    const margin = Math.floor(sorted.length / 4);
    const middle = sorted.slice(margin, sorted.length - margin);
    return middle.length ? middle.reduce((sum, value) => sum + value, 0) / middle.length : null;
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
