// A game that a server plays: keys and mouse go there, tokens come back, and this page makes pictures of them. The
// messages: client/serve/protocol.py. The interface: tab.js.

const VERSION = 1;
const HEADER = 24; // bytes before a frame's payload
const CHUNK = 1 << 16; // bytes of a file in one message
const SEND_MS = 8; // motion is summed for so long
const PATIENCE_S = 30; // that a lost connection is tried again for
const COUNTED = 20; // pictures whose making is timed, before it is judged
const FINAL = [4400, 4403, 4409, 4429]; // the server has refused: another try would not help
const OVER = 4410, ELSEWHERE = 4503;
const PLAYER = "worldmodel-player";

export class RemoteGame {
  static async load(base, described, on, onProgress) {
    const game = new RemoteGame(base, described, on);
    const asked = new URLSearchParams(location.search).get("pixels");
    game.chosen = asked !== null;
    if (described.bits && asked !== "1") {
      // Without the decoder (an old browser), the server sends pictures.
      game.pictures = await loadPictures(base, described, onProgress).catch(() => null);
    }
    game.pixels = !game.pictures;
    return game;
  }

  constructor(base, described, on) {
    Object.assign(this, { base, described, on, pictures: null, socket: null, events: [], down: new Map() });
    this.player = sessionStorage.getItem(PLAYER);
    this.drawing = Promise.resolve();
    this.said = null;
    this.making = [];
    this.degrees = 0.15;
    addEventListener("pagehide", () => this.socket?.close());
  }

  /** Resolves with the first picture. */
  begin() {
    return new Promise((resolve) => {
      this.first = resolve;
      this.lost = null;
      this.#connect();
    });
  }

  do(what, value = null) {
    this.#flush();
    if (what === "seed") value = Number(value);
    this.#send({ kind: "do", what, value });
  }

  press(code) {
    if (!(code in this.described.keys)) return false;
    if (!this.down.has(code)) {
      this.down.set(code, this.described.keys[code]);
      this.#event(["down", code]);
    }
    return true;
  }

  release(code) {
    if (this.down.delete(code)) this.#event(["up", code]);
  }

  motion(dx, dy) {
    const last = this.events.at(-1);
    if (last?.[0] === "move") {
      last[1] += dx;
      last[2] += dy;
      this.time = performance.now();
    } else this.#event(["move", dx, dy]);
  }

  wheel(notches) {
    this.#event(["wheel", notches]);
  }

  releaseAll() {
    this.down.clear();
    this.#event(["away"]);
  }

  held() {
    return new Set(this.down.values());
  }

  /** A file for the server: "picture" to go on from, or "session" to watch. -> what is wrong with it, or "". */
  async upload(what, file) {
    if (this.socket?.readyState !== WebSocket.OPEN) return "the connection is lost";
    const answer = this.#answer();
    this.#send({ kind: "file", what, size: file.size });
    const first = await answer;
    if (!first.wanted) return first.text;
    const end = this.#answer();
    for (let at = 0; at < file.size; at += CHUNK) this.socket.send(await file.slice(at, at + CHUNK).arrayBuffer());
    return (await end).text;
  }

  /** What the server says next of a file. */
  #answer() {
    this.answered?.({ wanted: false, text: "another file came" });
    return new Promise((resolve) => (this.answered = resolve));
  }

  /** Where what was played so far can be had. */
  get recording() {
    return new URL(`recording?player=${this.player}`, this.base);
  }

  #event(event) {
    this.time = performance.now();
    this.events.push(event);
    if (event[0] !== "move") this.#flush();
    else this.timer ??= setTimeout(() => this.#flush(), SEND_MS);
  }

  #flush() {
    clearTimeout(this.timer);
    this.timer = null;
    if (!this.events.length) return;
    const events = this.events.splice(0);
    this.#send({ kind: "input", time: this.time, events });
  }

  #send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  #connect() {
    const address = new URL("play", this.base);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.#send({ kind: "hello", version: VERSION, player: this.player, pixels: this.pixels });
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#told(JSON.parse(data)) : this.#frame(data));
    socket.onclose = ({ code }) => this.#closed(code);
  }

  #told(message) {
    if (message.kind === "world") {
      this.player = message.player;
      sessionStorage.setItem(PLAYER, message.player);
      this.lost = null;
      this.down.clear();
      this.on.connected?.();
    } else if (message.kind === "queue") {
      this.lost = null;
      this.on.waiting(`the game is full: you are number ${message.place} in the queue`);
    } else if (message.kind === "state") {
      this.#draw(() => this.#state(message));
    } else if (message.kind === "file") {
      const answered = this.answered;
      this.answered = null;
      answered?.(message);
    } else if (message.kind === "error") this.reason = message;
  }

  #state(message) {
    const [number, text] = message.notice;
    if (this.said !== null && number > this.said) this.on.notice(text);
    this.said = number;
    this.rate = message.rate;
    this.on.state(message);
  }

  /** took: ms from a frame's tokens to its picture. Who cannot follow gets pictures from now on: older ones would queue. */
  #timed(took) {
    this.making = [...this.making.slice(1 - COUNTED), took];
    if (this.chosen || this.pixels || !this.rate) return;
    if (this.making.length < COUNTED || middle(this.making) < 1000 / this.rate) return;
    this.pixels = true; // on the next connection, too
    this.#send({ kind: "pixels" });
    this.on.notice("pictures are made too slowly here: the server sends them");
  }

  /** States and pictures are shown in the order in which they came, though pictures take a while. */
  #draw(show) {
    this.drawing = this.drawing.then(show).catch((error) => this.on.fail(error));
  }

  /** A frame's bytes -> a picture; once it is shown, the server may send another. */
  #frame(data) {
    const view = new DataView(data);
    const kind = view.getUint8(1), bits = view.getUint16(2, true), number = view.getUint32(4, true);
    const index = view.getUint32(8, true), time = view.getFloat64(12, true), missed = view.getUint32(20, true);
    const payload = new Uint8Array(data, HEADER);
    const began = performance.now();
    const made = kind === 0 ? this.pictures(unpack(payload, bits, this.described.places)) : createImageBitmap(new Blob([payload], { type: "image/jpeg" }));
    this.#draw(async () => {
      try {
        const picture = await made;
        if (kind === 0) this.#timed(performance.now() - began);
        const latency = Number.isNaN(time) ? null : performance.now() - time;
        this.on.frame(picture, { index, missed, latency, bytes: data.byteLength });
        this.first?.();
        this.first = null;
      } finally {
        this.#send({ kind: "shown", number });
      }
    });
  }

  #closed(code) {
    const reason = this.reason?.text;
    this.reason = null;
    this.answered?.({ wanted: false, text: "the connection is lost" });
    this.answered = null;
    if (code === ELSEWHERE) return this.#connect(); // still waiting for a seat
    if (FINAL.includes(code) || (code === OVER && reason && !reason.startsWith("the server"))) {
      this.on.fail(new Error(reason ?? "the server has refused this page: use the whole link that it printed"));
      return;
    }
    this.lost ??= performance.now();
    if (performance.now() - this.lost > PATIENCE_S * 1000) {
      this.on.fail(new Error("the server cannot be reached any more: reload the page to try again"));
      return;
    }
    this.on.waiting("the connection is lost: trying again");
    setTimeout(() => this.#connect(), 500);
  }
}

function middle(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

/** -> a function: tokens -> Promise<ImageData>, made in a worker. */
async function loadPictures(base, described, onProgress) {
  const { Game } = await import("./game.js");
  return Game.loadPictures(base, described, onProgress);
}

/** `count` tokens of so many bits, one after the other, the highest bit first. */
export function unpack(bytes, bits, count) {
  const tokens = new Int32Array(count);
  let value = 0, have = 0, at = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    have += 8;
    while (have >= bits && at < count) {
      have -= bits;
      tokens[at++] = value >>> have;
      value &= (1 << have) - 1;
    }
  }
  return tokens;
}
