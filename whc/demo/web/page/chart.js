// Curves: a share over the last seconds, and speed against quality.

const SECONDS = 10;
const NAMESPACE = "http://www.w3.org/2000/svg";

/** What a share was over the last seconds, a curve for each identity. */
export class History {
  #canvas;
  #curves = new Map();
  #now = 0;
  #tick = null;

  constructor(canvas) {
    this.#canvas = canvas;
  }

  clear() {
    this.#curves.clear();
  }

  /** Add the bars of a frame. */
  add(seconds, sightings) {
    this.#now = seconds;
    for (const { identity, reading, isFresh } of sightings) {
      if (!isFresh || !reading?.bar) continue;
      this.#tick = reading.bar.tick;
      if (!this.#curves.has(identity)) this.#curves.set(identity, []);
      this.#curves.get(identity).push([seconds, reading.bar.share]);
    }
    for (const [identity, points] of this.#curves) {
      while (points.length && points[0][0] < seconds - SECONDS) points.shift();
      if (!points.length) this.#curves.delete(identity);
    }
  }

  draw() {
    const canvas = this.#canvas;
    const dots = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * dots)) canvas.width = Math.round(width * dots);
    if (canvas.height !== Math.round(height * dots)) canvas.height = Math.round(height * dots);
    const style = getComputedStyle(canvas);
    const shade = (name) => style.getPropertyValue(name);
    const pen = canvas.getContext("2d");
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    pen.clearRect(0, 0, width, height);
    const [left, top, bottom] = [24, 6, height - 6];
    const y = (share) => bottom - share * (bottom - top);
    const right = this.#curves.size > 1 ? width - 26 : width - 2; // room for who it is
    const x = (seconds) => right - ((this.#now - seconds) / SECONDS) * (right - left);
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    for (const share of [0, 0.5, 1]) {
      pen.fillStyle = shade("--muted");
      pen.fillText(String(share), 0, Math.min(Math.max(y(share), 6), height - 6));
      stroke(pen, [[left, y(share)], [width, y(share)]], shade("--line"), 1);
    }
    if (this.#tick !== null) stroke(pen, [[left, y(this.#tick)], [width, y(this.#tick)]], shade("--muted"), 1, [4, 4]);
    const named = []; // where names stand, so that none covers another
    for (const [identity, points] of this.#curves) {
      const places = points.map(([seconds, share]) => [x(seconds), y(share)]);
      stroke(pen, places, shade("--accent"), 2);
      const [atX, atY] = places.at(-1);
      const nameY = Math.min(Math.max(atY, 6), height - 6);
      if (this.#curves.size === 1 || atX < right - 4 || named.some((other) => Math.abs(other - nameY) < 11)) continue;
      named.push(nameY);
      pen.fillText(`#${identity}`, right + 4, nameY);
    }
  }
}

function stroke(pen, points, style, width, dashes = []) {
  pen.strokeStyle = style;
  pen.lineWidth = width;
  pen.lineJoin = "round";
  pen.setLineDash(dashes);
  pen.beginPath();
  points.forEach(([x, y], number) => (number ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
  pen.setLineDash([]);
}

/**
 * Speed against quality: a point for each variant.
 *
 * @param points [{name, ms, score, shown, isChosen}], fastest first; `ms` in this browser
 * @param metric {name, isError}: errors are drawn upside down, so that better is higher
 */
export function plot(place, points, metric) {
  const [width, height, left, right, top, bottom] = [380, 176, 44, 16, 14, 144];
  const slowest = 1.15 * Math.max(...points.map((point) => point.ms));
  const scores = points.map((point) => point.score);
  const margin = Math.max((Math.max(...scores) - Math.min(...scores)) * 0.2, 0.002 * Math.max(...scores.map(Math.abs)));
  const [low, high] = [Math.min(...scores) - margin, Math.max(...scores) + margin];
  const x = (ms) => left + (ms / slowest) * (width - left - right);
  const y = (score) => {
    const share = (score - low) / (high - low);
    return metric.isError ? top + share * (bottom - top) : bottom - share * (bottom - top);
  };
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const words = points.map(({ name, ms, shown }) => `${name} ${duration(ms)}, ${metric.name} ${shown}`).join("; ");
  drawing.setAttribute("aria-label", `Speed against quality: ${words}`);
  drawing.append(svg("path", { class: "axis", fill: "none", d: `M${left} ${top}V${bottom}H${width - right}` }));
  for (const { score, shown } of points) {
    if (score !== Math.min(...scores) && score !== Math.max(...scores)) continue;
    drawing.append(svg("text", { x: left - 6, y: y(score) + 4, "text-anchor": "end" }, shown));
  }
  drawing.append(svg("text", { x: left, y: bottom + 14, "text-anchor": "middle" }, "0"));
  const last = slowest / 1.15;
  drawing.append(svg("text", { x: x(last), y: bottom + 14, "text-anchor": "middle" }, duration(last)));
  const caption = `${metric.name}, by the time of a pass in this browser`;
  drawing.append(svg("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, caption));
  for (const { name, ms, score, isChosen } of points) {
    const group = svg("g", { class: isChosen ? "chosen" : "" });
    group.append(svg("circle", { cx: x(ms), cy: y(score), r: 6 }));
    const letter = name.split("_").at(-1).toUpperCase();
    group.append(svg("text", { x: x(ms), y: y(score) - 11, "text-anchor": "middle" }, letter));
    drawing.append(group);
  }
  place.replaceChildren(drawing);
}

function svg(kind, attributes, words = "") {
  const element = document.createElementNS(NAMESPACE, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = words;
  return element;
}

/** Milliseconds for people. */
export function duration(ms) {
  return `${ms < 10 ? ms.toPrecision(2) : Math.round(ms)} ms`;
}
