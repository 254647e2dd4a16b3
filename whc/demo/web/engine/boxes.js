/** Boxes cx, cy, w, h in shares of a picture: whc/data/boxes.py, and the best ones of a detector. */

const [MIN_SIDE, MAX_SIDE] = [1e-4, 1.5]; // shares of the picture; other boxes are wrong

/** Intersection over union of two boxes. */
export function overlap(ours, theirs) {
  const [w, h, otherW, otherH] = [ours[2], ours[3], theirs[2], theirs[3]].map((side) => Math.max(side, 0));
  const across = Math.min(ours[0] + w / 2, theirs[0] + otherW / 2) - Math.max(ours[0] - w / 2, theirs[0] - otherW / 2);
  const down = Math.min(ours[1] + h / 2, theirs[1] + otherH / 2) - Math.max(ours[1] - h / 2, theirs[1] - otherH / 2);
  const common = Math.max(across, 0) * Math.max(down, 0);
  const union = w * h + otherW * otherH - common;
  return union > 0 ? common / union : common;
}

/**
 * Boxes sorted by score, without those that overlap a better one by more than `maxOverlap`, or are empty.
 *
 * @param {number[][]} boxes score, cx, cy, w, h.
 * @param {number} maxOverlap intersection over union.
 */
export function bestBoxes(boxes, maxOverlap) {
  const isSide = (side) => side > MIN_SIDE && side < MAX_SIDE;
  const sorted = boxes
    .filter((box) => box.every(Number.isFinite) && isSide(box[3]) && isSide(box[4]))
    .sort((a, b) => b[0] - a[0]);
  const kept = [];
  for (const box of sorted) {
    if (kept.every((better) => overlap(better.slice(1), box.slice(1)) <= maxOverlap)) kept.push(box);
  }
  return kept;
}
