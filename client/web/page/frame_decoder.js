// The frame loop: the twin of FrameDecoder (worldmodel/engine/decoder.py). Opens a context, takes an action's tokens, and
// decodes a frame group by group. A guided frame is decoded in two lanes, the action's and the idle step's, as rows of the
// same passes.

import { Context, Ring } from "./ring.js";
import { Rows } from "./rows.js";
import { guide, sampleChained } from "./sampler.js";

const MASKED = -1e9;

export class FrameDecoder {
  /** model: world.json's; chain: { values, detail } or null. */
  constructor(ort, session, model, chain) {
    Object.assign(this, { ort, session, model, chain, layout: model.layout });
    this.rows = new Rows(model.layout, model.table);
    this.ring = new Ring({ ...model.transformer, length: model.layout.length, window: model.window });
    this.before = [...new Set(model.offsets.flatMap((offset) => [offset, offset + 1]))].sort((a, b) => a - b);
    this.outro = model.layout.length - model.layout.image;
    this.block = -1;
    this.frames = [];
  }

  /** Frames in the context. */
  get filled() {
    return Math.min(this.block + 1, this.model.window);
  }

  /** n frames (arrays of tokens) and the n - 1 actions between them; onProgress: called with the share that is done. */
  async open(frames, actions, onProgress = () => {}) {
    this.block = -1;
    this.frames = [];
    const first = Math.max(0, frames.length - this.model.window);
    for (let index = first; index < frames.length; index++) {
      const action = index > first ? actions[index - 1] : null;
      await this.#first(action ? [action] : [null], frames[index], this.layout.image, false);
      this.frames.push(Int32Array.from(frames[index]));
      onProgress((index - first + 1) / (frames.length - first));
    }
  }

  /** One frame -> its tokens. seed: a BigInt; frame: the number that keys the random numbers. */
  async decode(action, sampler, seed, frame) {
    const { layout, model } = this;
    const tokens = new Int32Array(layout.image);
    const idle = sampler.guidance > 0 && action.some((token, i) => token !== model.idle[i]);
    const lanes = idle ? [action, model.idle] : [action];
    const previous = this.frames.at(-1);
    let context = null, begin = 0;
    for (const end of layout.ends) {
      let made;
      if (begin === 0) {
        made = await this.#first(lanes, tokens, end, true);
        context = this.#inner(made, lanes.length, end);
      } else {
        const parts = lanes.map((one) => this.rows.image(begin, end, tokens, previous, one));
        made = await this.#run(parts, this.#angles(this.block, begin, end), context, (row, past, lane) => {
          past.fill(0, 0, context.shared);
          const from = context.shared + lane * layout.length;
          past.fill(0, from, from + this.outro + begin);
        }, () => true, 0);
        this.#keep(made, context, lanes.length, 0, begin, end);
      }
      for (let row = 0; row < end - begin; row++) {
        const place = layout.places[begin + row];
        const logits = idle
          ? guide(made.logits(row), made.logits(end - begin + row), sampler.guidance) : made.logits(row);
        tokens[place] = sampleChained(logits, this.chain, sampler, seed, frame, place, layout.image);
      }
      begin = end;
    }
    this.frames = [...this.frames.slice(-(model.window - 1)), tokens];
    return tokens;
  }

  /** A block's first pass, with its first `end` slots and what follows the block before. lanes: actions. */
  async #first(lanes, tokens, end, wanted) {
    const { layout, model, rows } = this;
    const last = this.block, block = ++this.block, previous = this.frames.at(-1) ?? null;
    const outro = last < 0 ? 0 : this.outro;
    const attends = (from, to) => from === to || model.offsets.includes(from - to);
    const seen = this.before.map((age) => block - age).filter((other) => other >= 0);
    const parts = seen.map((other) => ({ block: other, count: other === last ? layout.image : layout.length }));
    const context = new Context(this.ring, parts, 0);
    const inputs = lanes.map((action) => joined(
      Int32Array,
      outro ? rows.outro(previous, action) : new Int32Array(0),
      rows.image(0, end, tokens, previous, action),
    ));
    const angles = { cos: new Float32Array(0), sin: new Float32Array(0) };
    const ending = outro ? this.#angles(last, layout.image, layout.length) : angles;
    const image = this.#angles(block, 0, end);
    for (const name of ["cos", "sin"]) angles[name] = joined(Float32Array, ending[name], image[name]);
    const made = await this.#run(inputs, angles, context, (row, past) => {
      let at = 0;
      for (const { block: other, count } of parts) {
        if (attends(row < outro ? last : block, other)) past.fill(0, at, at + count);
        at += count;
      }
    }, (query, key) => (query < outro ? key < outro : key < outro || rank(query) >= rank(key)), wanted ? outro : -1);
    function rank(row) {
      return layout.rank[row - outro];
    }
    this.#write(made, 0, outro, last, layout.image);
    this.#write(made, outro, end, block, 0);
    return made;
  }

  /** What the passes after the first read: whole blocks before, and each lane's own entries. */
  #inner(first, lanes, end) {
    const { layout, model, block } = this;
    const blocks = model.offsets.map((offset) => block - offset).filter((other) => other >= 0);
    const parts = blocks.map((other) => ({ block: other, count: other === block - 1 ? layout.image : layout.length }));
    const context = new Context(this.ring, parts, lanes * layout.length);
    this.#keep(first, context, lanes, this.outro, 0, end, true);
    return context;
  }

  /** Each lane's new entries into its own part of the context; the action's into the ring, too. */
  #keep(made, context, lanes, outro, begin, end, ringDone = false) {
    const count = outro + end - begin;
    for (let lane = 0; lane < lanes; lane++) {
      const entry = lane * this.layout.length + (outro ? 0 : this.outro + begin);
      made.each((kind, layer, rows) => context.write(kind, layer, entry, rows, lane * count, count));
    }
    if (!ringDone) this.#write(made, 0, count, this.block, begin);
  }

  #write(made, from, count, block, slot) {
    if (count) made.each((kind, layer, rows) => this.ring.write(kind, layer, block, slot, rows, from, count));
  }

  /**
   * One pass, in which the lanes do not see each other. inputs: rows by lane; see(row, past, lane): clears a row's mask
   * of the context; own(query, key): whether one sees the other within a lane; first: the first row of a lane whose
   * logits are wanted (-1: none are).
   */
  async #run(inputs, angles, context, see, own, first) {
    const { ort, rows, model } = this;
    const lanes = inputs.length, n = inputs[0].length / rows.columns, all = lanes * n, { entries } = context;
    const past = new Float32Array(all * entries).fill(MASKED), among = new Float32Array(all * all).fill(MASKED);
    const wanted = [];
    for (let row = 0; row < all; row++) {
      const lane = Math.floor(row / n), inner = row % n;
      see(inner, past.subarray(row * entries, (row + 1) * entries), lane);
      for (let key = 0; key < n; key++) if (own(inner, key)) among[row * all + lane * n + key] = 0;
      if (first >= 0 && inner >= first) wanted.push(row);
    }
    const repeat = (values) => (lanes === 1 ? values : joined(Float32Array, values, values));
    const feeds = {
      rows: new ort.Tensor("int32", joined(Int32Array, ...inputs), [all, rows.columns]),
      cos: new ort.Tensor("float32", repeat(angles.cos), [all, model.rotary.pairs]),
      sin: new ort.Tensor("float32", repeat(angles.sin), [all, model.rotary.pairs]),
      past: new ort.Tensor("float32", past, [all, entries]),
      own: new ort.Tensor("float32", among, [all, all]),
      wanted: new ort.Tensor("int32", Int32Array.from(wanted.length ? wanted : [0]), [wanted.length || 1]),
    };
    const { layers } = this.ring;
    for (const kind of ["keys", "values"]) {
      for (let layer = 0; layer < layers; layer++) {
        feeds[`${kind}.${layer}`] = new ort.Tensor("float32", context.caches[kind][layer], context.dims);
      }
    }
    const made = await this.session.run(feeds);
    const codes = made.logits.dims[1], logits = made.logits.data;
    return {
      logits: (row) => logits.subarray(row * codes, (row + 1) * codes),
      each(use) {
        for (const kind of ["keys", "values"]) {
          for (let layer = 0; layer < layers; layer++) use(kind, layer, made[`new_${kind}.${layer}`].data);
        }
      },
    };
  }

  /** Rotary positions of slots begin..end of a block: cos and sin (n * pairs). */
  #angles(block, begin, end) {
    const { pairs, positions, steps, frequencies } = this.model.rotary;
    const angles = { cos: new Float32Array((end - begin) * pairs), sin: new Float32Array((end - begin) * pairs) };
    for (let slot = begin, at = 0; slot < end; slot++) {
      for (let pair = 0; pair < pairs; pair++, at++) {
        const angle = (positions[slot][pair] + block * steps[pair]) * frequencies[pair];
        angles.cos[at] = Math.cos(angle);
        angles.sin[at] = Math.sin(angle);
      }
    }
    return angles;
  }
}

function joined(Kind, ...parts) {
  const whole = new Kind(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
