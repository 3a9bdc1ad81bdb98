// A game that is played in this tab. Both kinds of games (the other: remote.js) have this interface; `on` has the page's
// functions: frame(ImageData or ImageBitmap, { filled, window, latency }), state({...}), notice(text), fail(error).

import { toldAction } from "./actions.js";
import { Controls } from "./controls.js";
import { Game } from "./game.js";
import { isolate } from "./isolation.js";

export class TabGame {
  /** -> a game, or null while the page is loaded once more, with threads. */
  static async load(base, described, on, onProgress) {
    if (await isolate()) return null;
    return new TabGame(await Game.load(base, onProgress), on);
  }

  constructor(game, on) {
    const { model, keys } = game.described;
    Object.assign(this, { game, on, model, playing: false, single: false, generation: 0 });
    this.scene = 0;
    this.seed = 0n;
    this.sampler = { temperature: model.sampler.temperature, guidance: model.sampler.guidance };
    this.degrees = model.actions.camera.degrees_per_pixel;
    this.controls = new Controls(keys, this.degrees, model.rate, (action) => toldAction(action, model.actions));
  }

  /** Whether it is a command of this game (see client/web/keys.py). value: of "scene", "seed", "temperature", ... */
  async do(what, value) {
    const { scenes } = this.game;
    if (what === "play" || what === "pause") {
      this.playing = what === "play";
      this.controls.releaseAll();
    } else if (what === "step") this.single = !this.playing;
    else if (what === "temperature" || what === "guidance") this.sampler[what] = value;
    else if (what === "colder" || what === "warmer") this.#warm(what === "colder" ? -0.1 : 0.1);
    else if (what === "scene") this.scene = value;
    else if (what === "previous scene") this.scene = (this.scene + scenes - 1) % scenes;
    else if (what === "next scene") this.scene = (this.scene + 1) % scenes;
    else if (what === "seed") this.seed = BigInt(value);
    else if (what === "next seed") this.seed += 1n;
    this.#tell();
    if (["restart", "scene", "previous scene", "next scene", "seed", "next seed"].includes(what)) await this.begin();
  }

  /** Back to the scene's opening. */
  async begin() {
    const own = ++this.generation;
    const first = await this.game.picture(await this.game.open(this.scene, this.seed));
    if (own !== this.generation) return; // it was asked for again meanwhile
    this.controls.releaseAll();
    this.#show(first, true);
    this.#tell();
    this.#loop(own);
  }

  /** Plays until the game is begun anew. */
  async #loop(own) {
    let due = performance.now();
    try {
      while (own === this.generation) {
        if (!this.playing && !this.single) {
          await new Promise(requestAnimationFrame);
          due = performance.now();
          continue;
        }
        this.single = false;
        const asked = performance.now();
        const { picture } = await this.game.step(this.controls.take(), this.sampler);
        if (own !== this.generation) return;
        this.#show(picture, false, asked);
        due = Math.max(due + 1000 / this.model.rate, performance.now());
        await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
      }
    } catch (error) {
      this.on.fail(error);
    }
  }

  #warm(by) {
    const { temperature } = this.sampler;
    this.sampler.temperature = Math.min(2, Math.max(0, Math.round((temperature + by) * 10) / 10));
  }

  #show(made, cut, asked) {
    const latency = asked === undefined ? null : performance.now() - asked;
    this.on.frame(made, { cut, latency, filled: this.game.filled, window: this.model.numbers.window });
  }

  #tell() {
    const { scene, seed, sampler, playing } = this;
    this.on.state({ ...sampler, scene, seed, paused: !playing, scenes: this.game.scenes, rate: this.model.rate });
  }

  press = (code) => this.controls.press(code);
  release = (code) => this.controls.release(code);
  motion = (dx, dy) => this.controls.motion(dx, dy);
  wheel = (notches) => this.controls.wheel(notches);
  releaseAll = () => this.controls.releaseAll();
  held = () => this.controls.held();
}
