/** The demo's engine in the browser: opens models and detectors, and says what a model sees in a stream. */

export { openDetector } from "./detectors/index.js";
export { openModel } from "./model.js";
export { Stream } from "./stream.js";

// A module of one function that splats a byte over a vector: the smallest that needs WebAssembly SIMD.
const SIMD_MODULE = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
];

/** Whether this browser has WebAssembly with SIMD, which the runtime needs. */
export function hasSimd() {
  return typeof WebAssembly === "object" && WebAssembly.validate(Uint8Array.from(SIMD_MODULE));
}
