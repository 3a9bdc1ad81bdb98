// A game behind a worker: the page stays free while frames are made.

import { availableThreads } from "./native.js";
import { readDescription } from "./world.js";

export class Game {
  /** baseUrl: of the folder with world.json; onProgress: called with ("loading" or "opening", share that is done). */
  static async load(baseUrl, onProgress = () => {}) {
    const described = await readDescription(baseUrl);
    const game = new Game(described, onProgress);
    const given = { baseUrl: `${baseUrl}`, described, threads: availableThreads() };
    await game.call("loadWorld", given);
    await game.call("loadPictures", given);
    return game;
  }

  /** The pictures alone, of a world that is played elsewhere. -> a function: tokens -> Promise<ImageData>. */
  static async loadPictures(baseUrl, described, onProgress = () => {}) {
    const game = new Game(described, onProgress);
    await game.call("loadPictures", { baseUrl: `${baseUrl}`, described, threads: Math.min(2, availableThreads()) });
    return (tokens) => game.picture(tokens);
  }

  constructor(described, onProgress) {
    Object.assign(this, { described, onProgress, filled: 0 });
    this.loaded = {};
    this.total = Object.values(described.files).reduce((sum, [size]) => sum + size, 0);
    this.call = this.#worker();
  }

  get scenes() {
    return this.described.scenes.count;
  }

  /** Opens a start scene -> its last frame's tokens. seed: a BigInt. */
  open(start, seed) {
    return this.call("open", { start, seed });
  }

  /** action: see actions.js; sampler: what is changed of the usual one. -> the next frame: { tokens, picture }. */
  async step(action, sampler = {}) {
    const { tokens, filled, picture } = await this.call("step", { action, sampler });
    this.filled = filled;
    return { tokens, picture };
  }

  /** tokens -> ImageData. */
  picture(tokens) {
    return this.call("picture", { tokens });
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
