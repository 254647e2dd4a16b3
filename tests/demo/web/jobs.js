// What the tests ask of the engine: functions from JSON values to JSON values.

import * as ort from "/runtime/ort.wasm.min.mjs";
import { cropEdges, cut } from "/engine/cropping.js";
import { hasSimd, openDetector, openModel, Stream } from "/engine/engine.js";
import { fixed, floorDivide, roundHalfEven } from "/engine/numbers.js";
import { resize, toInput } from "/engine/preprocess.js";
import { Smoother } from "/engine/smoothing.js";
import { answersOf } from "/engine/tasks/index.js";
import { Tracker } from "/engine/tracking.js";
import { Window } from "/engine/window.js";

ort.env.wasm.numThreads = 1;

const decoded = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const encoded = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
const pictureOf = ({ data, height, width }) => ({ data: decoded(data), height, width, step: 3 });

function imageOf({ data, height, width }) {
  const image = new ImageData(width, height);
  decoded(data).forEach((level, i) => {
    image.data[Math.floor(i / 3) * 4 + (i % 3)] = level;
  });
  return image;
}

async function imageOfFile(text) {
  const bitmap = await createImageBitmap(new Blob([decoded(text)]));
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

const JOBS = {
  simd: hasSimd,
  numbers: ({ values, digits, divisor }) => ({
    rounded: values.map(roundHalfEven),
    fixed: values.map((value) => fixed(value, digits)),
    divided: values.map((value) => floorDivide(value, divisor)),
  }),
  resized: ({ cases }) =>
    cases.map(({ picture, height, width, interpolation }) =>
      encoded(resize(pictureOf(picture), height, width, interpolation).data),
    ),
  input: ({ windows, layout }) => {
    const { data, shape } = toInput(
      windows.map((window) => window.map(pictureOf)),
      layout,
    );
    return { data: [...data], shape };
  },
  crops: ({ picture, cases }) =>
    cases.map(({ box, rule }) => {
      const edges = cropEdges(box, picture, rule);
      return { edges, data: encoded(cut(pictureOf(picture), edges).data) };
    }),
  taken: ({ frames, frameRate, fps, instants }) => {
    const window = new Window(frames, frameRate, fps);
    return instants.map((seconds) => {
      const takes = window.takes(seconds);
      if (takes) window.push({ seconds });
      return [takes, window.isFull, window.stack().map((frame) => frame.seconds)];
    });
  },
  followed: ({ memory, frames }) => {
    const tracker = new Tracker(memory);
    return frames.map(({ boxes, seconds }) => [tracker.follow(boxes, seconds), [...tracker.identities]]);
  },
  answered: ({ metadata, outputs }) => {
    const answers = answersOf("model", metadata);
    return outputs.map((output) => ({
      reading: answers.reading(output),
      columns: answers.columns,
      cells: answers.cells(output),
      wrong: answers.checkOutput(output),
    }));
  },
  smoothed: ({ metadata, frames }) => {
    const answers = answersOf("model", metadata);
    const smoother = new Smoother(answers);
    return frames.map(({ output, seconds }) => {
      smoother.add(output, seconds);
      return smoother.state;
    });
  },
  found: async ({ bytes, description, pictures }) => {
    const detector = await openDetector(ort, decoded(bytes).buffer, description);
    const boxes = [];
    for (const picture of pictures) boxes.push(await detector.find(imageOf(picture)));
    return { what: detector.what, boxes };
  },
  watched: async ({ model, detector, fps, frames }) => {
    const opened = await openModel(ort, decoded(model.bytes).buffer, model.description);
    const finder = detector && (await openDetector(ort, decoded(detector.bytes).buffer, detector.description));
    const stream = new Stream(opened, finder, { fps });
    const seen = [];
    for (const { picture, file, seconds } of frames) {
      seen.push(await stream.next(picture ? imageOf(picture) : await imageOfFile(file), seconds));
    }
    return seen;
  },
};

/** What a job gives, or why it gives nothing. */
export async function runJob(job, args) {
  try {
    return { value: await JOBS[job](args) };
  } catch (error) {
    return { error: `${error.message}` };
  }
}
