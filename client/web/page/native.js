// The native engine's frame decoder (kernels/cpu, see client/web/compile.py) in a tab: its memory, its model, its threads.
// The memory is shared, so that workers can help in a frame. It knows no worlds.

const FIRST_PAGES = 256, MOST_PAGES = 16384; // of 64 KiB; as it is compiled
const STACK = 1 << 18; // bytes of a helper's
const NO_MEMORY = "this browser has too little memory for the model";
// The fields of Model (kernels/cpu/model.h), each a word.
const NUMBERS = [
  "hidden", "mlp", "layers", "heads", "kv_heads", "head_dim", "image", "length", "tail", "window", "passes", "offsets",
  "main", "detail", "inputs", "lanes", "players", "threads", "int8", "epsilon",
];
const ARRAYS = [
  "embedding", "start", "place", "no_previous", "previous", "action", "chain", "sources", "places", "tail_places", "ends",
  "offset", "weights",
];

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

export class NativeDecoder {
  /**
   * bytes: of frame_decoder.wasm; numbers: of world.json; arrays: by name, Float32Array or Int32Array; weights: in order;
   * actions: tokens of an action; threads: with this one.
   */
  static async load(bytes, { numbers, arrays, weights, actions, threads }) {
    const module = await WebAssembly.compile(bytes);
    const memory = new WebAssembly.Memory({ initial: FIRST_PAGES, maximum: MOST_PAGES, shared: true });
    const native = new NativeDecoder(await instantiate(module, memory), memory, numbers);
    native.exports._initialize();
    native.#model({ ...numbers, lanes: 2, players: 1, threads, int8: 1 }, arrays, weights);
    native.#frame(actions);
    const helpers = Array.from({ length: threads - 1 }, (_, index) => native.#helper(module, index + 1));
    await Promise.all(helpers);
    return native;
  }

  constructor(exports, memory, numbers) {
    Object.assign(this, { exports, memory, numbers });
  }

  /**
   * Makes the block of that number. previous: the tokens before, or null; actions: one array of the embedding's rows a
   * lane, or none; angles, before: { cos, sin } of this block and the one before; sampling: { greedy, top_k, sharpness,
   * guidance, top_p, seed, frame }, seed a BigInt; forced: tokens to decode with, or null. -> Int32Array of tokens.
   */
  decode({ block, previous, actions, angles, before, sampling, forced }) {
    const { exports, at, decoder, numbers } = this, pairs = angles.cos.length;
    this.#write(at.previous, previous);
    this.#write(at.forced, forced);
    actions.forEach((rows, lane) => this.#write(at.actions + 4 * lane * rows.length, Int32Array.from(rows)));
    for (const [to, { cos, sin }] of [[at.angles, angles], [at.before, before]]) {
      this.#write(to, cos);
      this.#write(to + 4 * pairs, sin);
    }
    const { greedy, top_k, sharpness, guidance, top_p, seed, frame } = sampling;
    exports.worldmodel_frame(
      decoder, BigInt(block), previous ? at.previous : 0, at.actions, Math.max(1, actions.length), at.angles, at.before,
      pairs, greedy, top_k, sharpness, guidance, top_p, seed, BigInt(frame), forced ? at.forced : 0, at.tokens,
    );
    return new Int32Array(this.memory.buffer, at.tokens, numbers.image).slice();
  }

  #model(numbers, arrays, weights) {
    const kept = Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, this.#copy(array)]));
    const matrices = weights.map((matrix) => this.#copy(matrix));
    kept.weights = this.#copy(Uint32Array.from(matrices));
    const words = new DataView(new ArrayBuffer(4 * (NUMBERS.length + ARRAYS.length)));
    NUMBERS.forEach((name, index) => {
      if (name === "epsilon") words.setFloat32(4 * index, numbers[name], true);
      else words.setInt32(4 * index, numbers[name], true);
    });
    ARRAYS.forEach((name, index) => words.setUint32(4 * (NUMBERS.length + index), kept[name] ?? 0, true));
    const model = this.#copy(new Uint8Array(words.buffer));
    this.decoder = this.exports.worldmodel_decoder(model);
    for (const address of [...matrices, ...Object.values(kept), model]) this.exports.free(address);
  }

  /** Room for what a frame is given. */
  #frame(actions) {
    const { image, length, head_dim: size } = this.numbers;
    const words = { previous: image, forced: image, tokens: image, actions: 2 * actions, angles: length * size, before: length * size };
    this.at = Object.fromEntries(Object.entries(words).map(([name, count]) => [name, this.#room(4 * count)]));
  }

  #room(bytes) {
    const address = this.exports.malloc(bytes);
    if (!address) throw new Error(NO_MEMORY);
    return address >>> 0;
  }

  #copy(array) {
    const address = this.#room(array.byteLength);
    this.#write(address, array);
    return address;
  }

  #write(address, array) {
    if (!array) return;
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    new Uint8Array(this.memory.buffer, address, bytes.length).set(bytes);
  }

  /** Resolves when the thread helps, or cannot: all is done without it, only later. */
  #helper(module, thread) {
    const stack = this.#room(STACK) + STACK;
    const { memory, decoder } = this;
    return new Promise((resolve) => {
      try {
        const worker = new Worker(new URL("helper.js", import.meta.url), { type: "module" });
        worker.onmessage = worker.onerror = resolve;
        worker.postMessage({ module, memory, decoder, thread, stack });
      } catch {
        resolve(); // a browser whose workers start none
      }
    });
  }
}
