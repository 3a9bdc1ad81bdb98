// One of the two workers of a game (game.js): "world" makes tokens, "pictures" makes pictures of them. Each has its own
// runtime, so that a frame's picture is made while the next frame is.

import { loadDecoder } from "./decoder.js";
import { loadWorld } from "./world.js";

const calls = {
  async loadWorld({ baseUrl, described, threads }) {
    world = await loadWorld(baseUrl, described, { threads, onProgress });
  },
  async loadPictures({ baseUrl, described, threads }) {
    const name = "decoder.onnx";
    const version = described.files[name][1];
    decoder = await loadDecoder(baseUrl, { threads, version, onProgress: (count) => onProgress(name, count) });
  },
  open: ({ start, seed }) => world.open(start, seed, (share) => postMessage({ opened: share })),
  async step({ action, sampler }) {
    Object.assign(world.sampler, sampler);
    const tokens = await world.step(action);
    return { tokens, filled: world.frames.filled };
  },
  picture: ({ tokens }) => decoder.decode(tokens),
};

let world = null, decoder = null;

function onProgress(name, count) {
  postMessage({ loaded: [name, count] });
}

onmessage = async ({ data: { id, call, given } }) => {
  try {
    postMessage({ id, value: await calls[call](given) });
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) });
  }
};
