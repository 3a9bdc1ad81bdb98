// Keys and values of the last frames, and what a pass reads of them.

/** `window` blocks of `length` entries, by layer: block, head, entry, channel. */
export class Ring {
  constructor({ layers, heads, channels, length, window }) {
    Object.assign(this, { layers, heads, channels, length, window });
    const make = () => new Float32Array(window * heads * length * channels);
    this.caches = { keys: Array.from({ length: layers }, make), values: Array.from({ length: layers }, make) };
  }

  /** rows: a Float32Array (heads, all, channels) of a layer; its rows from..from+count go to the block's `slot` on. */
  write(kind, layer, block, slot, rows, from, count) {
    const { heads, channels, length } = this, all = rows.length / (heads * channels);
    const base = (block % this.window) * heads;
    for (let head = 0; head < heads; head++) {
      const begin = (head * all + from) * channels;
      const part = rows.subarray(begin, begin + count * channels);
      this.caches[kind][layer].set(part, ((base + head) * length + slot) * channels);
    }
  }
}

/** Copies of parts of a ring side by side, and room for what the passes of a frame add: by layer: head, entry, channel. */
export class Context {
  /** parts: [{ block, count }], each a block's first entries; room: entries behind them. */
  constructor(ring, parts, room) {
    const { layers, heads, channels, length, window } = ring;
    this.ring = ring;
    this.shared = parts.reduce((sum, part) => sum + part.count, 0);
    this.entries = this.shared + room;
    const copy = (cache) => {
      const made = new Float32Array(heads * this.entries * channels);
      for (let head = 0; head < heads; head++) {
        let to = head * this.entries * channels;
        for (const { block, count } of parts) {
          const from = ((block % window) * heads + head) * length * channels;
          made.set(cache.subarray(from, from + count * channels), to);
          to += count * channels;
        }
      }
      return made;
    };
    this.caches = { keys: ring.caches.keys.map(copy), values: ring.caches.values.map(copy) };
    this.dims = [heads, this.entries, channels];
  }

  /** As Ring.write, to an entry behind the shared ones. */
  write(kind, layer, entry, rows, from, count) {
    const { heads, channels } = this.ring, all = rows.length / (heads * channels);
    for (let head = 0; head < heads; head++) {
      const begin = (head * all + from) * channels;
      const to = (head * this.entries + this.shared + entry) * channels;
      this.caches[kind][layer].set(rows.subarray(begin, begin + count * channels), to);
    }
  }
}
