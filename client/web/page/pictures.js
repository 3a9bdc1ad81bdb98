// A frame's tokens -> its picture: the twin of NativePainter (worldmodel/engine/host/native_pictures.py).

import { fetchFiles } from "./files.js";
import { NativePictures } from "./native.js";
import { Safetensors } from "./safetensors.js";

const FILES = ["pictures.safetensors", "native.wasm"];

/** described: world.json; threads, onProgress: see loadWorld. */
export async function loadPictures(baseUrl, described, { threads = 1, onProgress } = {}) {
  return buildPictures(described.pictures, await fetchFiles(baseUrl, described.files, FILES, onProgress), threads);
}

/** described: world.json's "pictures"; bytes: of the folder's files, by name. */
export async function buildPictures(described, bytes, threads = 1) {
  const stored = new Safetensors(bytes["pictures.safetensors"]);
  const native = await NativePictures.load(bytes["native.wasm"], {
    numbers: described.numbers,
    weights: described.weights.map((name) => stored.floats(name, described.scales)),
    threads,
  });
  const codebook = described.levels ? null : stored.floats("codebook");
  return new Pictures(native, described, codebook);
}

class Pictures {
  constructor(native, { numbers, levels }, codebook) {
    Object.assign(this, { native, numbers, levels, codebook });
  }

  /** tokens: a frame's, row by row -> { rgba, width, height }. */
  decode(tokens) {
    const { native, numbers: { latent } } = this;
    const latents = new Float32Array(tokens.length * latent);
    tokens.forEach((token, place) => latents.set(this.#latent(token), place * latent));
    return { rgba: native.decode(latents), width: native.width, height: native.height };
  }

  /** A code's channels: levels, which the code numbers in mixed radix, or a row of the codebook. */
  #latent(code) {
    const { latent } = this.numbers;
    if (this.codebook) return this.codebook.subarray(code * latent, (code + 1) * latent);
    let rest = code;
    return this.levels.map((size) => {
      const digit = rest % size;
      rest = Math.floor(rest / size);
      return Math.fround(digit / ((size - 1) / 2)) - 1;
    });
  }
}
