// The words and numbers beside the picture.

import { css, tag } from "./drawing.js";

const QUIET_MS = 1500; // between sentences of a screen reader

function element(kind, className = "", words = "") {
  const made = document.createElement(kind);
  if (className) made.className = className;
  made.textContent = words;
  return made;
}

function fillBar(place, { bar, colour }) {
  const filled = element("i");
  filled.style.width = `${(100 * bar.share).toFixed(1)}%`;
  filled.style.background = css(colour);
  const parts = [filled];
  if (bar.tick !== null) {
    parts.push(element("b"));
    parts[1].style.left = `calc(${(100 * bar.tick).toFixed(1)}% - 1px)`;
  }
  place.replaceChildren(...parts);
}

/** A line for each sighting: what it is called, and its bar; the headline where there is none. */
export function fillReadings(list, sightings, headline) {
  const lines = sightings.map((sighting) => {
    const line = element("li");
    const title = element("span", "title", tag(sighting));
    line.append(title);
    const { reading } = sighting;
    if (reading) {
      const dot = element("i");
      dot.style.background = css(reading.colour);
      title.prepend(dot);
    }
    if (reading?.bar) {
      line.append(element("span", "share", `${reading.bar.name} ${reading.bar.share.toFixed(2)}`));
      const bar = element("div", "bar");
      fillBar(bar, reading);
      line.append(bar);
    }
    return line;
  });
  if (!lines.length) {
    lines.push(element("li"));
    lines[0].append(element("span", "title", headline.title));
  }
  list.replaceChildren(...lines);
}

/** Says to a screen reader what changed, but not each change of a restless answer. */
export class Speaker {
  #place;
  #said = "";
  #at = -Infinity;

  constructor(place) {
    this.#place = place;
  }

  /** `isFinal`: nothing follows that could change it. */
  say(words, isFinal) {
    const now = performance.now();
    if (words === this.#said || (!isFinal && now - this.#at < QUIET_MS)) return;
    [this.#said, this.#at] = [words, now];
    this.#place.textContent = words;
  }
}

/** A row for each variant: a radio button, quality, speed, size, and what it says. */
export class LadderTable {
  #rows = [];

  constructor(columns, body, { models, metric, chosen }, choose) {
    const hasScores = models.every(({ score }) => score !== null);
    const headings = ["Variant", hasScores ? metric.name : "", "This browser", "KB", "Says"];
    const classes = ["", "number", "number", "number size", "says"];
    headings.forEach((words, number) => {
      if (!words) return;
      const heading = element("th", classes[number], words);
      heading.scope = "col";
      columns.append(heading);
    });
    models.forEach((model, number) => {
      const row = this.#row(model, hasScores, model.name === chosen, () => choose(number));
      this.#rows.push(row);
      body.append(row.element);
    });
  }

  #row({ name, shown, size_bytes: sizeBytes }, hasScores, isChosen, choose) {
    const row = { element: element("tr"), ms: element("td", "number", "–"), says: element("td", "says") };
    const head = element("th");
    head.scope = "row";
    const label = element("label");
    const radio = element("input");
    Object.assign(radio, { type: "radio", name: "variant", checked: isChosen });
    radio.addEventListener("change", choose);
    label.append(radio, name);
    head.append(label);
    row.words = element("span");
    row.bar = element("div", "bar");
    row.says.append(row.words, row.bar);
    const size = element("td", "number size", (sizeBytes / 1000).toFixed(0));
    row.element.append(head, ...(hasScores ? [element("td", "number", shown)] : []), row.ms, size, row.says);
    return row;
  }

  time(speeds) {
    this.#rows.forEach((row, number) => { row.ms.textContent = speeds.shown(number); });
  }

  say(results) {
    this.#rows.forEach((row, number) => {
      const sightings = results.get(number)?.sightings ?? [];
      const first = sightings.reduce((a, b) => (a && a.identity <= b.identity ? a : b), null);
      const others = sightings.length > 1 ? ` +${sightings.length - 1}` : "";
      row.words.textContent = first ? tag(first) + others : "";
      const reading = first?.reading;
      row.bar.hidden = !reading?.bar;
      if (reading?.bar) fillBar(row.bar, reading);
    });
  }
}
