// What the model sees and says, drawn over the picture in the pixels of the screen.

const WAITING = { title: "warming up", colour: [170, 170, 170], bar: null, lines: [] };
const FONT = "600 15px system-ui, sans-serif";

export const css = (colour) => `rgb(${colour.join(" ")})`;

/** The words above a sighting. */
export function tag({ tag: words, reading }) {
  return words || (reading ?? WAITING).title;
}

/** Draw sightings on a canvas that lies over a picture of `width` x `height` pixels. */
export function draw(overlay, picture, sightings) {
  const box = picture.getBoundingClientRect();
  const outer = overlay.parentElement.getBoundingClientRect();
  const dots = window.devicePixelRatio || 1;
  place(overlay, box, outer, dots);
  const pen = overlay.getContext("2d");
  pen.setTransform(dots, 0, 0, dots, 0, 0);
  pen.clearRect(0, 0, box.width, box.height);
  const [x, y] = [box.width / picture.width, box.height / picture.height];
  for (const sighting of sightings) {
    const [left, top, right, bottom] = sighting.edges ?? [0, 0, picture.width, picture.height];
    const area = { left: left * x, top: top * y, width: (right - left) * x, height: (bottom - top) * y };
    const reading = sighting.reading ?? WAITING;
    if (sighting.edges) outline(pen, area, css(reading.colour));
    drawLines(pen, area, reading.lines);
    const corner = sighting.edges ? [area.left, area.top - 24] : [0, box.height - 24];
    label(pen, tag(sighting), corner, css(reading.colour), box);
  }
}

function place(overlay, box, outer, dots) {
  const [width, height] = [Math.round(box.width * dots), Math.round(box.height * dots)];
  if (overlay.width !== width) overlay.width = width;
  if (overlay.height !== height) overlay.height = height;
  Object.assign(overlay.style, {
    left: `${box.left - outer.left}px`,
    top: `${box.top - outer.top}px`,
    width: `${box.width}px`,
    height: `${box.height}px`,
  });
}

function outline(pen, { left, top, width, height }, colour) {
  for (const [line, style] of [[5, "rgb(0 0 0 / 0.75)"], [2.5, colour]]) {
    pen.lineWidth = line;
    pen.strokeStyle = style;
    pen.strokeRect(left, top, width, height);
  }
}

/** Lines whose points are in shares of the area. */
function drawLines(pen, { left, top, width, height }, lines) {
  pen.lineCap = "round";
  for (const [line, isEdge] of [[5, true], [3, false]]) {
    pen.lineWidth = line;
    for (const { start, end, colour } of lines) {
      pen.strokeStyle = isEdge ? "rgb(0 0 0 / 0.6)" : css(colour);
      pen.beginPath();
      pen.moveTo(left + start[0] * width, top + start[1] * height);
      pen.lineTo(left + end[0] * width, top + end[1] * height);
      pen.stroke();
    }
  }
}

/** Words on a dark strip, moved so that all of it is in the picture. */
function label(pen, words, [x, y], colour, room) {
  pen.font = FONT;
  const width = Math.min(pen.measureText(words).width + 14, room.width);
  const left = Math.min(Math.max(0, x), room.width - width);
  const top = Math.min(Math.max(0, y), room.height - 24);
  pen.fillStyle = "rgb(0 0 0 / 0.72)";
  pen.fillRect(left, top, width, 24);
  pen.fillStyle = colour;
  pen.textBaseline = "middle";
  pen.fillText(words, left + 7, top + 12.5, width - 14);
}
