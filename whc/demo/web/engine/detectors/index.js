/**
 * What finds the boxes whose crops a model sees: whc/demo/detectors.
 *
 * @typedef {(data: Float32Array, shape: number[]) => Promise<Object<string, {data: Float32Array, dims: number[]}>>} Run
 *   From a network's only input to its outputs by name, in the order of the file.
 * @typedef {(picture: import("../resizing.js").Picture) => Promise<number[][]>} Find
 *   From a picture to boxes: score, cx, cy, w, h in shares of the picture, best first.
 * @typedef {(run: Run, description: object) => Promise<Find>} Load
 */

import { openModel, openSession, oneLineErrors } from "../model.js";
import { pictureOf } from "../preprocess.js";
import * as blazeface from "./blazeface.js";
import { faceFinder } from "./face.js";
import * as ultraface from "./ultraface.js";
import { finder } from "./whc_model.js";
import * as yunet from "./yunet.js";

const NETWORKS = { blazeface, ultraface, yunet };

/** A detector: `what` it finds, in a word, and `find(imageData)`. */
class Detector {
  #find;

  constructor(name, what, find) {
    [this.name, this.what, this.#find] = [name, what, find];
  }

  /** @returns {Promise<number[][]>} Boxes: score, cx, cy, w, h in shares of the picture, best first. */
  find(imageData) {
    return this.#find(pictureOf(imageData));
  }
}

/**
 * Open a detector.
 *
 * @param ort the module onnxruntime-web.
 * @param {ArrayBuffer} bytes and
 * @param {object} description as whc/demo/web/descriptions.py gives them.
 */
export async function openDetector(ort, bytes, description) {
  const { name, kind, what, label } = description;
  if (kind === "whc_model") return new Detector(name, what, finder(await openModel(ort, bytes, description), label));
  if (kind === "face") {
    const cascades = JSON.parse(new TextDecoder().decode(bytes));
    return new Detector(name, what, faceFinder(cascades, description.config));
  }
  if (!Object.hasOwn(NETWORKS, kind)) {
    const known = [...Object.keys(NETWORKS), "face", "whc_model"].join(", ");
    throw new Error(`${name}: must be a detector of one of the kinds ${known}, got '${kind}'; upgrade whc`);
  }
  const session = await openSession(ort, bytes, name);
  const [inputName] = session.inputNames;
  const run = (data, shape) =>
    oneLineErrors(name, () => session.run({ [inputName]: new ort.Tensor("float32", data, shape) }));
  return new Detector(name, what, await NETWORKS[kind].load(run, description));
}
