// A world that plays wholly in this tab: actions in, tokens out (decoder.js makes pictures of them). The same scene, seed
// and actions give the same tokens.

import { encodeAction } from "./actions.js";
import { FrameDecoder } from "./frame_decoder.js";
import { fetchBytes, loadRuntime, loadSession } from "./runtime.js";

/** What a folder holds: its world.json. */
export async function readDescription(baseUrl) {
  return JSON.parse(new TextDecoder().decode(await fetchBytes(new URL("world.json", baseUrl))));
}

/** described: of readDescription; threads: for the model; onProgress: called with (name of a file, bytes so far). */
export async function loadWorld(baseUrl, described, { threads, onProgress = () => {} } = {}) {
  const { files, model } = described;
  const load = (name) => fetchBytes(new URL(name, baseUrl), files[name][1], (count) => onProgress(name, count));
  const ort = await loadRuntime(baseUrl, threads);
  const chain = files["chain.bin"] ? { values: floats(await load("chain.bin")), detail: model.detail } : null;
  const scenes = readScenes(await load("scenes.bin"), described.scenes, model);
  const session = await loadSession(baseUrl, await load("transformer.onnx"));
  return new World(model, scenes, new FrameDecoder(ort, session, model, chain));
}

export class World {
  constructor(model, scenes, frames) {
    Object.assign(this, { model, scenes, frames, seed: 0n, frame: 0 });
    this.sampler = { ...model.sampler };
  }

  /** Opens a start scene and returns its last frame's tokens. seed: a BigInt below 2^64; onProgress: gets the share. */
  async open(start = 0, seed = 0n, onProgress = () => {}) {
    const scene = this.scenes[start % this.scenes.length];
    await this.frames.open(scene.frames, scene.actions, onProgress);
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

function readScenes(bytes, { count, frames }, { layout, idle }) {
  const values = new Int32Array(bytes.buffer);
  let at = 0;
  const take = (rows, size) => Array.from({ length: rows }, () => Array.from(values.subarray(at, (at += size))));
  return Array.from({ length: count }, () => ({
    frames: take(frames, layout.image),
    actions: take(frames - 1, idle.length),
  }));
}

function floats(bytes) {
  return new Float32Array(bytes.buffer);
}
