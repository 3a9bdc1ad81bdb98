// A world that plays wholly in this tab: actions in, pictures out. The same scene, seed and actions give the same tokens.

import { encodeAction } from "./actions.js";
import { loadDecoder } from "./decoder.js";
import { FrameDecoder } from "./frame_decoder.js";
import { fetchBytes, loadRuntime, loadSession } from "./runtime.js";

/** baseUrl: of the folder with world.json; onProgress: called with (what is done, share of it). */
export async function loadWorld(baseUrl, onProgress = () => {}) {
  const base = new URL(baseUrl, globalThis.location.href);
  const described = JSON.parse(new TextDecoder().decode(await fetchBytes(new URL("world.json", base))));
  const { files, model } = described, loaded = {};
  const total = Object.values(files).reduce((sum, [size]) => sum + size, 0);
  const progress = (name) => (count) => {
    loaded[name] = count;
    onProgress("loading", Object.values(loaded).reduce((sum, one) => sum + one, 0) / total);
  };
  const load = (name) => fetchBytes(new URL(name, base), files[name][1], progress(name));
  const ort = await loadRuntime(base);
  const decoder = await loadDecoder(base, files["decoder.onnx"][1], progress("decoder.onnx"));
  const chain = files["chain.bin"] ? { values: floats(await load("chain.bin")), detail: model.detail } : null;
  const scenes = readScenes(await load("scenes.bin"), described.scenes, model);
  const session = await loadSession(base, await load("transformer.onnx"));
  return new World(described, scenes, new FrameDecoder(ort, session, model, chain), decoder);
}

export class World {
  constructor(described, scenes, frames, decoder) {
    Object.assign(this, { described, scenes, frames, decoder, model: described.model });
    this.sampler = { ...described.model.sampler };
    this.seed = 0n;
    this.frame = 0;
  }

  /** Opens a start scene. seed: a BigInt below 2^64. -> { tokens } */
  async open(start = 0, seed = 0n, onProgress = () => {}) {
    const scene = this.scenes[start % this.scenes.length];
    await this.frames.open(scene.frames, scene.actions, (share) => onProgress("opening", share));
    this.seed = seed;
    this.frame = 0;
    return { tokens: scene.frames.at(-1) };
  }

  /** One step -> { tokens }. action: see actions.js, or its tokens. */
  async step(action) {
    const tokens = Array.isArray(action) ? action : encodeAction(action, this.model.actions);
    return { tokens: await this.frames.decode(tokens, this.sampler, this.seed, this.frame++) };
  }

  /** tokens -> ImageData. */
  picture(tokens) {
    return this.decoder.decode(tokens);
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
