// A world that plays wholly in this tab: actions in, tokens out (pictures.js makes pictures of them). The same scene, seed
// and actions give the same tokens.

import { encodeAction } from "./actions.js";
import { fetchBytes, fetchFiles } from "./files.js";
import { FrameDecoder } from "./frame_decoder.js";
import { NativeDecoder } from "./native.js";
import { Safetensors } from "./safetensors.js";

const FILES = ["scenes.bin", "transformer.safetensors", "native.wasm"];

/** What a folder holds: its world.json. */
export async function readDescription(baseUrl) {
  return JSON.parse(new TextDecoder().decode(await fetchBytes(new URL("world.json", baseUrl))));
}

/** described: of readDescription; threads: for the model (more than one only in a worker); onProgress: see fetchFiles. */
export async function loadWorld(baseUrl, described, { threads = 1, onProgress } = {}) {
  return buildWorld(described, await fetchFiles(baseUrl, described.files, FILES, onProgress), threads);
}

/** bytes: of the folder's files, by name. */
export async function buildWorld({ model, scenes }, bytes, threads = 1) {
  const stored = new Safetensors(bytes["transformer.safetensors"]), arrays = {};
  for (const [name, table] of Object.entries(model.layout)) arrays[name] = Int32Array.from(table);
  for (const [name, from] of Object.entries(model.tables)) arrays[name] = stored.floats(from, model.scales);
  const native = await NativeDecoder.load(bytes["native.wasm"], {
    numbers: model.numbers,
    arrays,
    weights: model.weights.map((name) => stored.floats(name, model.scales)),
    actions: model.idle.length,
    threads,
  });
  return new World(model, readScenes(bytes["scenes.bin"], scenes, model), new FrameDecoder(native, model));
}

export class World {
  constructor(model, scenes, frames) {
    Object.assign(this, { model, scenes, frames, seed: 0n, frame: 0 });
    this.sampler = { ...model.sampler };
  }

  /** Opens a start scene and returns its last frame's tokens. seed: a BigInt below 2^64; onProgress: gets the share. */
  open(start = 0, seed = 0n, onProgress = () => {}) {
    const scene = this.scenes[start % this.scenes.length];
    this.frames.open(scene.frames, scene.actions, onProgress);
    this.seed = seed;
    this.frame = 0;
    return scene.frames.at(-1);
  }

  /** One step -> the tokens of the frame that it leads to. action: see actions.js, or its tokens (an array). */
  step(action) {
    const tokens = Array.isArray(action) ? action : encodeAction(action, this.model.actions);
    return this.frames.decode(tokens, this.sampler, this.seed, this.frame++);
  }
}

function readScenes(bytes, { count, frames }, { numbers, idle }) {
  const values = new Int32Array(bytes.slice().buffer);
  let at = 0;
  const take = (rows, size) => Array.from({ length: rows }, () => Array.from(values.subarray(at, (at += size))));
  return Array.from({ length: count }, () => ({
    frames: take(frames, numbers.image),
    actions: take(frames - 1, idle.length),
  }));
}
