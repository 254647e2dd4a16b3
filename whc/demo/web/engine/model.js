/** A model that is ready to run: windows of frames in, outputs of its task out. */

import { checkInput, resize, toInput } from "./preprocess.js";
import { answersOf } from "./tasks/index.js";

/** @typedef {import("./preprocess.js").Picture} Picture */

export class Model {
  #ort;
  #session;

  /** Made by `openModel`. */
  constructor(ort, session, { name, metadata }) {
    [this.#ort, this.#session] = [ort, session];
    [this.name, this.metadata] = [name, metadata];
    this.answers = answersOf(name, metadata);
  }

  /** One frame at the model's input size. */
  prepare(picture) {
    const { height, width, interpolation } = this.metadata;
    return resize(picture, height, width, interpolation);
  }

  /**
   * The outputs of windows of prepared frames.
   *
   * @param {Picture[][]} windows N windows of T frames, oldest first.
   * @returns {Promise<number[][]>} Each output's numbers in their order; those of boxes row by row.
   */
  async run(windows) {
    const { data, shape } = toInput(windows, this.metadata.layout);
    const [inputName] = this.#session.inputNames;
    const input = new this.#ort.Tensor("float32", data, shape);
    const [output] = Object.values(await oneLineErrors(this.name, () => this.#session.run({ [inputName]: input })));
    const expected = [windows.length, ...this.answers.outputShape];
    if (output.dims.join() !== expected.join()) {
      throw new Error(
        `${this.name}: must give numbers of shape ${expected}, got shape ${output.dims}; export it again`,
      );
    }
    const size = output.data.length / windows.length;
    return windows.map((_, i) => this.#checked([...output.data.subarray(i * size, (i + 1) * size)]));
  }

  #checked(output) {
    const wrong = this.answers.checkOutput(output);
    if (wrong) throw new Error(`${this.name}: ${wrong}; train or export it again`);
    return output;
  }
}

/**
 * Open a model and run it once on black frames, so that errors appear before a source is opened.
 *
 * @param ort the module onnxruntime-web.
 * @param {ArrayBuffer} bytes of the ONNX file.
 * @param {{name: string, metadata: object}} description as whc/demo/web/descriptions.py gives it.
 */
export async function openModel(ort, bytes, description) {
  const { name, metadata } = description;
  checkInput(name, metadata);
  answersOf(name, metadata);
  const model = new Model(ort, await openSession(ort, bytes, name), description);
  const { frames, height, width } = metadata;
  const black = { data: new Uint8Array(height * width * 3), height, width, step: 3 };
  await model.run([Array(frames).fill(black)]);
  return model;
}

/** Load a network; an error has one line, and names it. */
export async function openSession(ort, bytes, name) {
  return oneLineErrors(name, () =>
    ort.InferenceSession.create(new Uint8Array(bytes), { executionProviders: ["wasm"] }),
  );
}

/** What a call of the runtime gives, or an error of one line that names the network. */
export async function oneLineErrors(name, call) {
  try {
    return await call();
  } catch (error) {
    const [line] = String(error?.message ?? error).split("\n");
    throw new Error(`${name}: must be a network that the browser can run: ${line}`, { cause: error });
  }
}
