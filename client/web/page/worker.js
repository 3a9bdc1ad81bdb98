// The worker of a game (game.js): makes frames' tokens, and pictures of them. A picture comes before the next frame: the
// cores are its player's.

import { loadPictures } from "./pictures.js";
import { loadWorld } from "./world.js";

const calls = {
  async loadWorld({ baseUrl, described, threads }) {
    world = await loadWorld(baseUrl, described, { threads, onProgress });
  },
  async loadPictures({ baseUrl, described, threads }) {
    pictures = await loadPictures(baseUrl, described, { threads, onProgress });
  },
  open: ({ start, seed }) => world.open(start, seed, (share) => postMessage({ opened: share })),
  async step({ action, sampler }) {
    Object.assign(world.sampler, sampler);
    const tokens = world.step(action);
    return { tokens, filled: world.frames.filled, picture: picture(tokens) };
  },
  picture: ({ tokens }) => picture(tokens),
};

let world = null, pictures = null;

function picture(tokens) {
  const { rgba, width, height } = pictures.decode(tokens);
  return new ImageData(rgba, width, height);
}

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
