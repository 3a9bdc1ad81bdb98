// The image decoder: a frame's tokens -> its picture.

import { fetchBytes, loadRuntime, loadSession } from "./runtime.js";

/**
 * baseUrl: of the folder that holds decoder.onnx and ort/. options: threads (default: all that help), version and
 * onProgress (see fetchBytes). -> { decode(tokens) -> Promise<ImageData> }; tokens: a frame's, row by row.
 */
export async function loadDecoder(baseUrl, { threads, version = "", onProgress = () => {} } = {}) {
  const base = new URL(baseUrl, globalThis.location.href);
  const ort = await loadRuntime(base, threads);
  const session = await loadSession(base, await fetchBytes(new URL("decoder.onnx", base), version, onProgress));
  return {
    async decode(tokens) {
      const { pixels } = await session.run({ tokens: new ort.Tensor("int32", Int32Array.from(tokens)) });
      const [height, width] = pixels.dims;
      return new ImageData(withAlpha(pixels.data), width, height);
    },
  };
}

function withAlpha(rgb) {
  const rgba = new Uint8ClampedArray((rgb.length / 3) * 4);
  for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
    rgba[to] = rgb[from];
    rgba[to + 1] = rgb[from + 1];
    rgba[to + 2] = rgb[from + 2];
    rgba[to + 3] = 255;
  }
  return rgba;
}
