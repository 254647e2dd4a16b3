// The page: sources in, what the models say of them out.

import { hasSimd, openDetector, openModel, Stream } from "../engine/engine.js";
import { duration, History, plot } from "./chart.js";
import { draw, tag } from "./drawing.js";
import { loadRuntime, part } from "./parts.js";
import { fillReadings, LadderTable, Speaker } from "./panels.js";
import { openCamera, openClip, openFile, SourceError } from "./sources.js";
import { Pace, Speeds } from "./speed.js";

const PANEL_MS = 200; // between updates of numbers, which could not be read faster

const find = (id) => document.getElementById(id);
const setup = JSON.parse(find("setup").textContent);
const picture = find("picture");
const pen = picture.getContext("2d", { willReadFrequently: true });
const history = new History(find("chart"));
const speaker = new Speaker(find("spoken"));
const speeds = new Speeds();
const pace = new Pace();

const state = {
  models: [],
  detector: null,
  chosen: 0, // number of the variant that is drawn
  source: null,
  streams: new Map(), // by the variant's number
  isPaused: false,
  panelAt: 0, // when the numbers were updated
  turn: 0, // which variant ran first
  requests: 0, // for sources
};
let ladder = null;

const together = () => state.models.length > 1 && find("together").checked;

/** Show a note, or hide it; one that stays is not read out again. */
function note(id, words) {
  const place = find(id);
  if (place.textContent === words) return;
  place.textContent = words;
  place.hidden = !words;
}

const notice = (words) => note("notice", words);

async function start() {
  find("about").textContent = setup.about;
  if (!hasSimd()) {
    find("source-name").textContent = "";
    const advice = "open the page in a current Chrome, Firefox, Edge or Safari";
    notice(`This browser lacks WebAssembly SIMD, which the models need: ${advice}.`);
    return;
  }
  const ort = await loadRuntime(setup.runtime);
  for (const { part: name, description } of setup.models) {
    state.models.push(await openModel(ort, await part(name), description));
  }
  if (setup.detector) {
    const { part: name, description } = setup.detector;
    state.detector = lookingOnce(await openDetector(ort, await part(name), description));
  }
  state.chosen = setup.models.findIndex(({ name }) => name === setup.chosen);
  wire();
  const permission = await navigator.permissions?.query({ name: "camera" }).catch(() => null);
  await (permission?.state === "granted" ? use(openCamera, "camera") : use(rendered, "clip"));
}

/** A detector that looks once at each frame, however many variants want to know. */
function lookingOnce(detector) {
  let last = null;
  let boxes = null;
  const look = (pixels) => {
    if (pixels !== last) [last, boxes] = [pixels, detector.find(pixels)];
    return boxes;
  };
  return { what: detector.what, find: look };
}

function wire() {
  if (state.models.length > 1) {
    ladder = new LadderTable(find("columns"), find("variants"), setup, choose);
    find("ladder").hidden = false;
    find("together").addEventListener("change", () => again());
  }
  find("detector-speed").hidden = !state.detector;
  find("camera").addEventListener("click", () => use(openCamera, "camera"));
  find("clip").addEventListener("click", () => use(rendered, "clip"));
  find("file").addEventListener("change", ({ target }) => {
    if (target.files.length) use(() => openFile(target.files[0]), "file-button");
    target.value = "";
  });
  find("pause").addEventListener("click", () => pause(!state.isPaused));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    window.addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dropping", kind === "dragover");
      const [file] = kind === "drop" ? event.dataTransfer.files : [];
      if (file) use(() => openFile(file), "file-button");
    });
  }
  choose(state.chosen);
}

async function rendered() {
  return openClip(await part(setup.clip.part), setup.clip);
}

/** Draw the answers of another variant. */
function choose(number) {
  state.chosen = number;
  find("chosen-name").textContent = setup.models[number].name;
  again();
}

/** Begin anew with what is before the models: another variant draws it, or others look on. */
function again() {
  document.body.classList.toggle("apart", !together());
  state.streams.clear();
  history.clear();
  state.panelAt = 0;
  state.source?.repeat?.();
}

/** Take another source; the one before goes on where it cannot be opened. */
async function use(open, button) {
  notice("");
  const request = ++state.requests;
  let source;
  try {
    source = await open();
  } catch (error) {
    notice(error instanceof SourceError ? error.message : `That cannot be used: ${error.message}`);
    return;
  }
  if (request !== state.requests) {
    source.close(); // the visitor has chosen another meanwhile
    return;
  }
  state.source?.close();
  state.source = source;
  for (const id of ["camera", "clip"]) find(id).setAttribute("aria-pressed", id === button);
  find("file-button").classList.toggle("pressed", button === "file-button");
  picture.width = 0; // the first frame says its size
  find("pause").disabled = source.isStill;
  pause(false);
  again();
  await watch(source);
}

function pause(isPaused) {
  state.isPaused = isPaused;
  find("pause").textContent = isPaused ? "Go on" : "Pause";
  state.source?.pause(isPaused);
}

async function watch(source) {
  try {
    while (state.source === source) {
      const frame = await source.next();
      if (!frame || state.source !== source) break;
      await see(frame, source);
    }
  } catch (error) {
    if (state.source === source) notice(error.message);
    if (!(error instanceof SourceError)) throw error;
  }
}

/** Run the models on a frame and show what they say. */
async function see(frame, source) {
  const began = performance.now();
  const { width, height, from = [0, 0] } = frame;
  if (picture.width !== width || picture.height !== height) resize(width, height);
  pen.drawImage(frame.image, ...from, width, height, 0, 0, width, height);
  const pixels = pen.getImageData(0, 0, width, height);
  if (source.isStill) state.streams.clear();
  const results = new Map();
  for (const number of inTurn()) results.set(number, await stream(number, source).next(pixels, frame.seconds));
  if (state.source !== source || !results.has(state.chosen)) return;
  const result = results.get(state.chosen);
  draw(find("overlay"), picture, result.sightings);
  for (const [number, { modelMs }] of results) speeds.add(number, modelMs);
  speeds.add("detector", Math.max(...[...results.values()].map(({ detectorMs }) => detectorMs)));
  history.add(frame.seconds, result.sightings);
  showWords(results, result, source);
  const now = performance.now();
  pace.add(now, now - began);
  if (now - state.panelAt >= PANEL_MS || source.isStill) {
    state.panelAt = now;
    showSpeeds(source);
  }
}

/** The variants that run on the next frame, another one first each time: whatever comes first takes longer. */
function inTurn() {
  if (!together()) return [state.chosen];
  const numbers = [...state.models.keys()];
  state.turn = (state.turn + 1) % numbers.length;
  return [...numbers.slice(state.turn), ...numbers.slice(0, state.turn)];
}

function resize(width, height) {
  picture.width = width;
  picture.height = height;
  picture.style.width = `min(100%, ${((width / height) * 74).toFixed(1)}vh)`; // small ones are enlarged
  find("source-name").textContent = `${state.source.name}, ${width} x ${height}`;
}

function stream(number, source) {
  if (!state.streams.has(number)) {
    state.streams.set(number, new Stream(state.models[number], state.detector, { fps: source.fps }));
  }
  return state.streams.get(number);
}

function showWords(results, result, source) {
  const { title, warning } = result;
  const sightings = [...result.sightings].sort((a, b) => a.identity - b.identity);
  note("doubt", warning && `${warning[0].toUpperCase()}${warning.slice(1)}.`);
  find("warning").hidden = !warning;
  fillReadings(find("readings"), sightings, title);
  const spoken = sightings.map(tag).join(", ") || title.title;
  speaker.say(spoken, source.isStill);
  find("overlay").setAttribute("aria-label", `The picture: ${spoken}`);
  const bar = sightings.find(({ reading }) => reading?.bar)?.reading.bar;
  find("history").hidden = source.isStill || (!bar && find("history").hidden);
  if (bar) find("chart-caption").textContent = `${bar.name} over the last ten seconds`;
  if (!find("history").hidden) history.draw();
  ladder?.say(results);
}

function showSpeeds(source) {
  find("model-ms").textContent = speeds.shown(state.chosen);
  find("detector-ms").textContent = speeds.shown("detector");
  find("frame-ms").textContent = duration(pace.frameMs);
  find("frame-rate").textContent = source.isStill ? "one picture" : `${pace.perSecond.toFixed(0)} fps`;
  ladder?.time(speeds);
  const points = setup.models.map(({ name, score, shown }, number) => {
    return { name, score, shown, ms: speeds.mean(number), isChosen: number === state.chosen };
  });
  const isComparable = points.length > 1 && points.every(({ ms, score }) => ms !== null && score !== null);
  if (isComparable) plot(find("plot"), points, setup.metric);
}

start().catch((error) => {
  notice(`The page cannot start: ${error.message}`);
  throw error;
});
