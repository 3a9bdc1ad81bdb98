// Compiled code (kernels/cpu, see kernels/wasm_build.py) in a tab: its memory, its models, its threads. The memory is
// shared, so that workers can help. It knows no worlds.

const FIRST_PAGES = 256, MOST_PAGES = 16384; // of 64 KiB; as it is compiled
const STACK = 1 << 18; // bytes of a helper's
const MOST_THREADS = 4; // a pass is too narrow for more
const NO_MEMORY = "this browser has too little memory for the model";
const FLOATS = ["epsilon"]; // among the numbers of a model; the others are whole
// The fields of Model and PictureModel (kernels/cpu/model.h), each a word.
const MODEL = [
  "hidden", "mlp", "layers", "heads", "kv_heads", "head_dim", "image", "length", "tail", "window", "passes", "offsets",
  "parts", "inputs", "lanes", "players", "threads", "int8", "epsilon",
  "embedding", "start", "place", "no_previous", "previous", "action", "chain", "sources", "places", "tail_places", "ends",
  "offset", "sizes", "weights",
];
const PICTURES = [
  "height", "width", "latent", "deep", "wide", "lower", "upper", "groups", "threads", "int8", "epsilon", "weights",
];

/** How many threads a page can have for one model. They need a page that is isolated across origins. */
export function availableThreads() {
  return globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
}

/** module: WebAssembly.Module; memory: its. -> its functions, for this thread. */
export async function instantiate(module, memory) {
  const stopped = () => {
    throw new Error(NO_MEMORY); // it would only say why it ends, and that is the only reason
  };
  const wanted = WebAssembly.Module.imports(module).filter(({ kind }) => kind === "function");
  const given = { env: { memory } };
  for (const { module: from, name } of wanted) (given[from] ??= {})[name] = stopped;
  return (await WebAssembly.instantiate(module, given)).exports;
}

/** What both decoders are made of. */
class Compiled {
  /** bytes: of native.wasm; threads: with this one, more than one only in a worker. */
  async start(bytes, threads) {
    this.module = await WebAssembly.compile(bytes);
    this.memory = new WebAssembly.Memory({ initial: FIRST_PAGES, maximum: MOST_PAGES, shared: true });
    this.exports = await instantiate(this.module, this.memory);
    this.exports._initialize();
    this.threads = threads;
  }

  /** make: of the exports; fields: in their order; numbers, arrays: by field; weights: arrays in order. */
  async build(make, fields, numbers, arrays, weights) {
    const matrices = weights.map((matrix) => this.copy(matrix));
    const kept = Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, this.copy(array)]));
    kept.weights = this.copy(Uint32Array.from(matrices));
    const words = new DataView(new ArrayBuffer(4 * fields.length));
    const given = { ...numbers, threads: this.threads, int8: 1 };
    fields.forEach((name, index) => {
      if (FLOATS.includes(name)) words.setFloat32(4 * index, given[name], true);
      else if (name in given) words.setInt32(4 * index, given[name], true);
      else words.setUint32(4 * index, kept[name] ?? 0, true);
    });
    const model = this.copy(new Uint8Array(words.buffer));
    this.handle = this.exports[make](model);
    for (const address of [...matrices, ...Object.values(kept), model]) this.exports.free(address);
    await Promise.all(Array.from({ length: this.threads - 1 }, (_, index) => this.#helper(index + 1)));
  }

  room(bytes) {
    const address = this.exports.malloc(bytes);
    if (!address) throw new Error(NO_MEMORY);
    return address >>> 0;
  }

  copy(array) {
    const address = this.room(array.byteLength);
    this.write(address, array);
    return address;
  }

  write(address, array) {
    if (!array) return;
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    new Uint8Array(this.memory.buffer, address, bytes.length).set(bytes);
  }

  /** Resolves when the thread helps, or cannot: all is done without it, only later. */
  #helper(thread) {
    const { module, memory, handle } = this, stack = this.room(STACK) + STACK;
    return new Promise((resolve) => {
      try {
        const worker = new Worker(new URL("helper.js", import.meta.url), { type: "module" });
        worker.onmessage = worker.onerror = resolve;
        worker.postMessage({ module, memory, handle, thread, stack });
      } catch {
        resolve(); // a browser whose workers start none
      }
    });
  }
}

/** Frames' tokens, of one player. */
export class NativeDecoder extends Compiled {
  /**
   * numbers: of world.json; arrays: by name, Float32Array or Int32Array; weights: in order; actions: tokens of an action.
   */
  static async load(bytes, { numbers, arrays, weights, actions, threads = 1 }) {
    const native = new NativeDecoder();
    await native.start(bytes, threads);
    await native.build("worldmodel_decoder", MODEL, { ...numbers, lanes: 2, players: 1 }, arrays, weights);
    const { image, length, head_dim: size } = numbers, angles = length * size;
    const words = { previous: image, forced: image, tokens: image, actions: 2 * actions, angles, before: angles };
    native.at = Object.fromEntries(Object.entries(words).map(([name, count]) => [name, native.room(4 * count)]));
    native.image = image;
    return native;
  }

  /**
   * Makes the block of that number. previous: the tokens before, or null; actions: one array of the embedding's rows a
   * lane, or none; angles, before: { cos, sin } of this block and the one before; sampling: { greedy, top_k, sharpness,
   * guidance, top_p, seed, frame }, seed a BigInt; forced: tokens to decode with, or null. -> Int32Array of tokens.
   */
  decode({ block, previous, actions, angles, before, sampling, forced }) {
    const { exports, at, handle } = this, count = angles.cos.length;
    this.write(at.previous, previous);
    this.write(at.forced, forced);
    actions.forEach((rows, lane) => this.write(at.actions + 4 * lane * rows.length, Int32Array.from(rows)));
    for (const [to, { cos, sin }] of [[at.angles, angles], [at.before, before]]) {
      this.write(to, cos);
      this.write(to + 4 * count, sin);
    }
    const { greedy, top_k, sharpness, guidance, top_p, seed, frame } = sampling;
    exports.worldmodel_frame(
      handle, BigInt(block), previous ? at.previous : 0, at.actions, Math.max(1, actions.length), at.angles, at.before,
      count, greedy, top_k, sharpness, guidance, top_p, seed, BigInt(frame), forced ? at.forced : 0, at.tokens,
    );
    return new Int32Array(this.memory.buffer, at.tokens, this.image).slice();
  }
}

/** Frames' pictures. */
export class NativePictures extends Compiled {
  /** numbers: of world.json; weights: in order. */
  static async load(bytes, { numbers, weights, threads = 1 }) {
    const native = new NativePictures();
    await native.start(bytes, threads);
    await native.build("worldmodel_pictures", PICTURES, numbers, {}, weights);
    Object.assign(native, { width: 16 * numbers.width, height: 16 * numbers.height });
    native.latents = native.room(4 * numbers.height * numbers.width * numbers.latent);
    native.rgba = native.room(4 * native.width * native.height);
    return native;
  }

  /** latents: Float32Array (places * channels) -> Uint8ClampedArray of RGBA. */
  decode(latents) {
    this.write(this.latents, latents);
    this.exports.worldmodel_picture(this.handle, this.latents, this.rgba);
    return Uint8ClampedArray.from(new Uint8Array(this.memory.buffer, this.rgba, 4 * this.width * this.height));
  }
}
