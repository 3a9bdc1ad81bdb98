// Frames after frames: the twin of NativeLanes (worldmodel/engine/host/native.py). Opens a context, takes an action's
// tokens, and has the frame decoded that it leads to.

const GREEDY = { greedy: 1, top_k: 0, sharpness: 0, guidance: 0, top_p: 1, seed: 0n, frame: 0 };

export class FrameDecoder {
  /** native: a NativeDecoder; model: world.json's. */
  constructor(native, model) {
    Object.assign(this, { native, model, block: -1, frames: [], angles: null });
  }

  /** Frames in the context. */
  get filled() {
    return Math.min(this.block + 1, this.model.numbers.window);
  }

  /** n frames (arrays of tokens) and the n - 1 actions between them; onProgress: called with the share that is done. */
  open(frames, actions, onProgress = () => {}) {
    this.block = -1;
    this.frames = [];
    const first = Math.max(0, frames.length - this.model.numbers.window);
    for (let index = first; index < frames.length; index++) {
      this.#make(index > first ? [actions[index - 1]] : [], GREEDY, Int32Array.from(frames[index]));
      onProgress((index - first + 1) / (frames.length - first));
    }
  }

  /** One frame -> its tokens. seed: a BigInt; frame: the number that keys the random numbers. */
  decode(action, sampler, seed, frame) {
    const { idle, coldest } = this.model, { temperature, top_k, top_p, guidance } = sampler;
    const guided = guidance > 0 && action.some((token, i) => token !== idle[i]);
    const greedy = temperature < coldest;
    const sampling = { greedy: Number(greedy), top_k, sharpness: greedy ? 0 : 1 / temperature, guidance, top_p, seed, frame };
    return this.#make(guided ? [action, idle] : [action], sampling, null);
  }

  /** The next block. actions: of each lane. */
  #make(actions, sampling, forced) {
    const { codes, first_action: first, numbers } = this.model;
    const block = ++this.block, angles = this.#angles(block);
    const tokens = this.native.decode({
      block, sampling, forced, angles,
      previous: this.frames.at(-1) ?? null,
      before: this.angles ?? angles,
      actions: actions.map((tokens) => tokens.map((token) => token - codes + first)),
    });
    this.angles = angles;
    this.frames = [...this.frames.slice(-(numbers.window - 1)), tokens];
    return tokens;
  }

  /** Rotary positions of a block's slots: cos and sin (length * pairs). */
  #angles(block) {
    const { pairs, positions, steps, frequencies } = this.model.rotary, { length } = this.model.numbers;
    const angles = { cos: new Float32Array(length * pairs), sin: new Float32Array(length * pairs) };
    for (let slot = 0, at = 0; slot < length; slot++) {
      for (let pair = 0; pair < pairs; pair++, at++) {
        const angle = (positions[slot][pair] + block * steps[pair]) * frequencies[pair];
        angles.cos[at] = Math.cos(angle);
        angles.sin[at] = Math.sin(angle);
      }
    }
    return angles;
  }
}
