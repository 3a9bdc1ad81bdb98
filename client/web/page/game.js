// A game behind two workers: the page stays free while frames are made.

import { availableThreads } from "./native.js";
import { readDescription } from "./world.js";

export class Game {
  /** baseUrl: of the folder with world.json; onProgress: called with ("loading" or "opening", share that is done). */
  static async load(baseUrl, onProgress = () => {}) {
    const described = await readDescription(baseUrl);
    const game = new Game(described, onProgress);
    // The world helps itself to all cores: its threads wait for none that is busy with a picture.
    game.world = game.#worker();
    const all = availableThreads(), pictures = all > 3 ? 2 : 1;
    const given = { baseUrl: `${baseUrl}`, described };
    await Promise.all([
      game.world("loadWorld", { ...given, threads: all }),
      game.pictures("loadPictures", { ...given, threads: pictures }),
    ]);
    return game;
  }

  /** The pictures alone, of a world that is played elsewhere. -> a function: tokens -> Promise<ImageData>. */
  static async loadPictures(baseUrl, described, onProgress = () => {}) {
    const game = new Game(described, onProgress);
    await game.pictures("loadPictures", { baseUrl: `${baseUrl}`, described, threads: Math.min(2, availableThreads()) });
    return (tokens) => game.picture(tokens);
  }

  constructor(described, onProgress) {
    Object.assign(this, { described, onProgress, filled: 0 });
    this.loaded = {};
    this.total = Object.values(described.files).reduce((sum, [size]) => sum + size, 0);
    this.pictures = this.#worker();
  }

  get scenes() {
    return this.described.scenes.count;
  }

  /** Opens a start scene -> its last frame's tokens. seed: a BigInt. */
  open(start, seed) {
    return this.world("open", { start, seed });
  }

  /** action: see actions.js; sampler: what is changed of the usual one. -> the next frame's tokens. */
  async step(action, sampler = {}) {
    const { tokens, filled } = await this.world("step", { action, sampler });
    this.filled = filled;
    return tokens;
  }

  /** tokens -> ImageData. */
  picture(tokens) {
    return this.pictures("picture", { tokens });
  }

  /** A worker as a function (call, what is given) -> Promise. */
  #worker() {
    const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    const waiting = new Map();
    let count = 0;
    worker.onmessage = ({ data }) => {
      if (data.loaded) this.#progress(...data.loaded);
      if (data.opened) this.onProgress("opening", data.opened);
      const call = waiting.get(data.id);
      if (!call) return;
      waiting.delete(data.id);
      if ("error" in data) call.reject(new Error(data.error));
      else call.resolve(data.value);
    };
    worker.onerror = (event) => {
      for (const call of waiting.values()) call.reject(new Error(event.message || "a worker could not be started"));
      waiting.clear();
    };
    return (call, given) => new Promise((resolve, reject) => {
      waiting.set(++count, { resolve, reject });
      worker.postMessage({ id: count, call, given });
    });
  }

  #progress(name, count) {
    this.loaded[name] = count;
    this.onProgress("loading", Object.values(this.loaded).reduce((sum, one) => sum + one, 0) / this.total);
  }
}
