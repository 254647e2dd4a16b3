// The files that the page needs: packed into it, or beside it on the server.

async function unpacked(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** The bytes of a file (an ArrayBuffer). */
export async function part(name) {
  const element = document.getElementById(`part-${name}`);
  if (element) return unpacked(element.textContent);
  const response = await fetch(`parts/${name}`);
  if (!response.ok) throw new Error(`${name}: the demo's server answered ${response.status}; is it still running?`);
  return response.arrayBuffer();
}

/** An address from which a file can be imported as a module. */
async function moduleAddress(name) {
  return URL.createObjectURL(new Blob([await part(name)], { type: "text/javascript" }));
}

/** ONNX Runtime, with one thread: more would need headers that a file on disk has not. */
export async function loadRuntime(names) {
  const files = [moduleAddress(names.library), moduleAddress(names.glue), part(names.wasm)];
  const [library, glue, wasm] = await Promise.all(files);
  const ort = await import(library);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { mjs: glue };
  ort.env.wasm.wasmBinary = wasm;
  return ort;
}
