// The page: wires a game and the elements together. What it plays is beside it (world.json): in this tab, or on a server.

import { watchPads } from "./gamepad.js";
import { RemoteGame } from "./remote.js";
import { TabGame } from "./tab.js";
import { buildTimeline } from "./timeline.js";
import { buildTouch } from "./touch.js";
import { readDescription } from "./world.js";

const COUNTED = 100; // frames that speed and latency are measured over
const NOTICE_MS = 5000;
const touch = matchMedia("(pointer: coarse)").matches;
const at = (id) => document.getElementById(id);
const told = document.documentElement.dataset; // what a test waits for
const screen = at("screen"), picture = screen.getContext("2d");

export let game;
let described, timeline, playing = false, state = {}, shown = [], latencies = [];

async function main() {
  const base = new URL(".", location.href);
  described = await readDescription(base);
  const kind = described.served ? RemoteGame : TabGame;
  game = await kind.load(base, described, on, (what, share) => {
    at("message").textContent = what === "loading" ? `loading the model: ${Math.round(share * 100)} %` : "opening a scene";
    at("progress").value = share;
  });
  if (!game) return; // the page is loaded once more
  document.body.classList.toggle("served", Boolean(described.served));
  document.title = at("title").textContent = described.name;
  at("keys").replaceChildren(...lines(described.help));
  timeline = buildTimeline(at("timeline"), (position) => game.do("seek", position), () => game.do("live"));
  listen();
  await game.begin();
  pause();
  told.ready = "true";
}

/** What a game calls. */
const on = {
  frame(made, { index = null, filled = null, window = null, missed = 0, latency = null, cut = false, bytes = null }) {
    if (screen.width !== made.width || screen.height !== made.height) {
      [screen.width, screen.height] = [made.width, made.height];
      document.documentElement.style.setProperty("--aspect", `${made.width} / ${made.height}`);
    }
    if (made instanceof ImageData) picture.putImageData(made, 0, 0);
    else picture.drawImage(made, 0, 0);
    if (cut) shown = [];
    shown = [...shown.slice(-COUNTED), performance.now()];
    if (latency !== null) latencies = [...latencies.slice(-COUNTED), latency];
    if (index !== null) timeline.show(index);
    if (filled !== null) state.context = [filled, window];
    Object.assign(told, { frames: Number(told.frames ?? 0) + 1, missed, bytes: bytes ?? "", index: index ?? "" });
    report();
  },
  state(next) {
    const before = state;
    state = { ...state, ...next };
    if (state.scenes && at("scene").length !== state.scenes) {
      at("scene").replaceChildren(...Array.from({ length: state.scenes }, (_, scene) => new Option(scene + 1, scene)));
    }
    for (const key of ["scene", "seed"]) if (state[key] != null && document.activeElement !== at(key)) at(key).value = state[key];
    for (const key of ["temperature", "guidance"]) {
      at(key).disabled = state[key] == null;
      if (state[key] != null) at(key).value = state[key];
      showSetting(key);
    }
    timeline?.set(state.replay ?? null);
    document.body.classList.toggle("replay", Boolean(state.replay));
    const [watches, watched] = [state, before].map((one) => Boolean(one.replay));
    if (watches !== watched || (watches && state.paused !== before.paused)) setPlaying(!state.paused);
    if (state.stage) on.waiting(state.stage); // a world is being made
    else if (watches !== watched || before.stage) rest();
    told.replay = Boolean(state.replay);
    report();
  },
  notice(text) {
    at("notice").textContent = text;
    clearTimeout(on.hiding);
    on.hiding = setTimeout(() => (at("notice").textContent = ""), NOTICE_MS);
  },
  waiting(text) {
    setPlaying(false);
    cover(text);
    at("progress").hidden = true;
  },
  connected() {
    pause();
  },
  fail(error) {
    setPlaying(false);
    cover(`it stopped: ${error.message}`);
    at("progress").hidden = true;
  },
};

function report() {
  const seconds = (shown.at(-1) - shown[0]) / 1000;
  const parts = [shown.length > 1 && seconds > 0 ? `${((shown.length - 1) / seconds).toFixed(1)} FPS` : ""];
  if (latencies.length) {
    const [middle, late] = [0.5, 0.95].map((share) => percentile(latencies, share).toFixed(0));
    parts.push(`${middle} / ${late} ms`);
    Object.assign(told, { p50: middle, p95: late });
  }
  if (state.context) parts.push(`context ${state.context.join("/")}`);
  if (Number(told.missed)) parts.push(`missed ${told.missed}`);
  if (!described?.served && !globalThis.crossOriginIsolated) parts.push("one thread");
  told.fps = parts[0];
  at("speed").textContent = parts.filter(Boolean).join("   ");
  at("held").textContent = [...(game?.held() ?? [])].join(" ");
}

function percentile(values, share) {
  const ranked = [...values].sort((a, b) => a - b);
  return ranked[Math.max(0, Math.ceil(share * ranked.length) - 1)];
}

/** message: what covers the picture; null: nothing does. */
function cover(message, begin = false) {
  at("cover").hidden = message === null;
  at("message").textContent = message ?? "";
  at("progress").hidden = begin;
  at("play").hidden = at("keys").hidden = !begin;
}

function setPlaying(next) {
  playing = next;
  game?.releaseAll();
  shown = [];
  at("pause").textContent = playing ? "Pause" : "Play";
  if (!playing && document.pointerLockElement) document.exitPointerLock();
}

function play() {
  setPlaying(true);
  game.do("play");
  cover(null);
  screen.focus();
  lockPointer();
}

function pause() {
  setPlaying(false);
  game.do("pause");
  rest();
}

/** What lies over a game that waits, and over a recording never. */
function rest() {
  if (playing || state.replay) cover(null);
  else cover("", true);
}

function lockPointer() {
  if (!touch && !state.replay) screen.requestPointerLock?.()?.catch?.(() => {});
}

function showSetting(key) {
  at(`${key}-value`).textContent = Number(at(key).value).toFixed(1);
}

/** The help, two of its lines side by side. */
function lines(help) {
  const half = Math.ceil(help.length / 2);
  return help.slice(0, half).map((line, index) => {
    const row = document.createElement("tr");
    for (const text of [...line, ...(help[half + index] ?? [])]) row.insertCell().textContent = text;
    return row;
  });
}

/** Commands of which the game knows nothing, or that are more than the game's. The rest goes to the game. */
const commands = {
  pause: () => (playing ? pause() : play()),
  step: () => {
    if (playing) pause();
    cover(null);
    game.do("step");
  },
  "full screen": () => (document.fullscreenElement ? document.exitFullscreen() : at("stage").requestFullscreen?.()),
  rewind: () => {
    cover(null);
    game.do("rewind");
  },
  record: () => open(game.recording, "_self"),
};

function command(name) {
  (commands[name] ?? (() => game.do(name)))();
}

async function upload(file) {
  const what = file.type.startsWith("image/") ? "picture" : "session";
  on.notice(`${file.name}: sending it`);
  const problem = await game.upload(what, file).catch((error) => String(error.message ?? error));
  on.notice(problem || (what === "picture" ? `going on from ${file.name}` : `watching ${file.name}`));
}

function listen() {
  at("cover").onclick = () => at("play").hidden || play(); // anywhere on the picture, as in the window
  at("scene").onchange = () => game.do("scene", Number(at("scene").value));
  at("seed").onchange = () => /^[0-9]{1,15}$/.test(at("seed").value.trim()) && game.do("seed", at("seed").value.trim());
  for (const key of ["temperature", "guidance"]) {
    at(key).oninput = () => {
      showSetting(key);
      game.do(key, Number(at(key).value));
    };
  }
  for (const button of document.querySelectorAll("[data-do]")) {
    const name = button.dataset.do;
    if (name === "rewind") {
      button.onpointerdown = () => command("rewind");
      button.onpointerup = button.onpointerleave = () => game.do("rewound");
    } else button.onclick = () => command(name);
  }
  at("file").onchange = () => at("file").files[0] && upload(at("file").files[0]);
  at("panel").onsubmit = (event) => event.preventDefault();
  addEventListener("keydown", (event) => {
    if (event.target.closest("#panel") || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
    const name = described.commands[key];
    if (name) {
      if (!event.repeat) command(name);
    } else if (playing && !event.repeat) {
      game.press(event.code);
      report();
    }
    if (playing || name) event.preventDefault();
  });
  addEventListener("keyup", (event) => {
    const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
    if (described.commands[key] === "rewind") game.do("rewound");
    game.release(event.code);
  });
  addEventListener("blur", () => game.releaseAll());
  addEventListener("mousedown", (event) => document.pointerLockElement && game.press(`Mouse${event.button}`));
  addEventListener("mouseup", (event) => game.release(`Mouse${event.button}`));
  addEventListener("mousemove", (event) => {
    if (document.pointerLockElement) game.motion(event.movementX, event.movementY);
  });
  addEventListener("wheel", (event) => document.pointerLockElement && game.wheel(Math.sign(event.deltaY)));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    if (described.served && event.dataTransfer.files[0]) upload(event.dataTransfer.files[0]);
  });
  screen.onclick = () => playing && lockPointer();
  screen.oncontextmenu = (event) => event.preventDefault();
  document.addEventListener("pointerlockchange", () => !document.pointerLockElement && playing && !state.replay && pause());
  document.addEventListener("visibilitychange", () => document.hidden && playing && pause());
  watchPads(game, game.degrees, () => playing);
  if (touch) buildTouch(at("touch"), screen, game);
}

main().catch(on.fail);
