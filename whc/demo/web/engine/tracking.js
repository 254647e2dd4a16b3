/** Who is who: boxes get the identities of the boxes that were expected where they are (whc/demo/tracking.py). */

import { overlap } from "./boxes.js";

export const MEMORY_SECONDS = 1;
const LEAST_OVERLAP = 0.2;
const MOVING_SECONDS = 0.2; // for which an unseen person is expected to move on
const SPEED_SHARE = 0.5; // of the newest speed in the average

class Track {
  #speed = [0, 0]; // of the centre, in shares a second

  constructor(identity, box, seconds) {
    this.identity = identity;
    this.box = box;
    this.seconds = seconds;
  }

  expected(seconds) {
    const passed = Math.min(seconds - this.seconds, MOVING_SECONDS);
    const [cx, cy, ...sides] = this.box;
    return [cx + this.#speed[0] * passed, cy + this.#speed[1] * passed, ...sides];
  }

  see(box, seconds) {
    if (seconds > this.seconds) {
      this.#speed = this.#speed.map((speed, i) => {
        const newest = (box[i] - this.box[i]) / (seconds - this.seconds);
        return (1 - SPEED_SHARE) * speed + SPEED_SHARE * newest;
      });
    }
    [this.box, this.seconds] = [box, seconds];
  }
}

/** Gives each box an identity, counted from 1; one that is not seen for `memorySeconds` never comes back. */
export class Tracker {
  #memorySeconds;
  #tracks = [];
  #count = 0;

  constructor(memorySeconds = MEMORY_SECONDS) {
    this.#memorySeconds = memorySeconds;
  }

  /** The identities in memory. */
  get identities() {
    return new Set(this.#tracks.map((track) => track.identity));
  }

  /**
   * The identities of the boxes (cx, cy, w, h) of the next frame.
   *
   * The pair of an expected box and a box that overlap most is matched first.
   */
  follow(boxes, seconds) {
    this.#tracks = this.#tracks.filter((track) => seconds - track.seconds <= this.#memorySeconds);
    const matched = this.#match(boxes, seconds);
    return boxes.map((box, row) => {
      const track = matched.get(row) ?? this.#newTrack(box, seconds);
      track.see(box, seconds);
      return track.identity;
    });
  }

  #match(boxes, seconds) {
    const pairs = this.#tracks.flatMap((track, column) => {
      const expected = track.expected(seconds);
      return boxes.map((box, row) => ({ row, column, track, shared: overlap(box, expected) }));
    });
    // Of equal overlaps the first box comes first, and its first track.
    pairs.sort((a, b) => b.shared - a.shared || a.row - b.row || a.column - b.column);
    const matched = new Map();
    const taken = new Set();
    for (const { row, track, shared } of pairs) {
      if (shared < LEAST_OVERLAP) break;
      if (matched.has(row) || taken.has(track)) continue;
      matched.set(row, track);
      taken.add(track);
    }
    return matched;
  }

  #newTrack(box, seconds) {
    this.#count += 1;
    const track = new Track(this.#count, box, seconds);
    this.#tracks.push(track);
    return track;
  }
}
