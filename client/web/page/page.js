// The page: wires the game, the controls and the elements together. What it plays is beside it (world.json).

import { Controls } from "./controls.js";
import { Game } from "./game.js";
import { isolate } from "./isolation.js";
import { buildTouch } from "./touch.js";

const COUNTED = 20; // frames that the speed is measured over
const at = (id) => document.getElementById(id);
const screen = at("screen"), picture = screen.getContext("2d");

let game, controls, playing = false, single = false, generation = 0, shown = [];

async function main() {
  if (await isolate()) return; // the page is loaded once more, with threads
  const base = new URL(".", location.href);
  game = await Game.load(base, (what, share) => {
    at("message").textContent = what === "loading" ? `loading the model: ${Math.round(share * 100)} %` : "opening a scene";
    at("progress").value = share;
  });
  const { model, name, keys } = game.described;
  [screen.height, screen.width] = model.size;
  controls = new Controls(keys, model.actions.camera.degrees_per_pixel, model.rate);
  at("title").textContent = name;
  for (let scene = 0; scene < game.scenes; scene++) at("scene").add(new Option(scene + 1, scene));
  for (const key of ["temperature", "guidance"]) {
    at(key).value = model.sampler[key];
    showSetting(key);
    at(key).oninput = () => showSetting(key);
  }
  at("keys").replaceChildren(...lines(game.described.help));
  listen();
  await restart();
  document.documentElement.dataset.ready = "true";
}

/** Back to the scene's opening. */
async function restart() {
  const own = ++generation;
  cover("opening a scene");
  const tokens = await game.open(Number(at("scene").value), seed());
  const first = await game.picture(tokens);
  if (own !== generation) return; // it was asked for again meanwhile
  picture.putImageData(first, 0, 0);
  shown = [];
  controls.releaseAll();
  if (playing) cover(null);
  else pause();
  loop(own);
}

/** Plays until the game is begun anew. A frame's picture is made while the next frame is. */
async function loop(own) {
  let due = performance.now(), drawing = Promise.resolve();
  try {
    while (own === generation) {
      if (!playing && !single) {
        await new Promise(requestAnimationFrame);
        due = performance.now();
        continue;
      }
      single = false;
      const tokens = await game.step(controls.take(), settings());
      await drawing;
      if (own !== generation) return;
      drawing = game.picture(tokens).then((made) => own === generation && draw(made));
      due = Math.max(due + 1000 / game.described.model.rate, performance.now());
      await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
    }
  } catch (error) {
    fail(error);
  }
}

function draw(made) {
  picture.putImageData(made, 0, 0);
  shown = [...shown.slice(-COUNTED), performance.now()];
  const seconds = (shown.at(-1) - shown[0]) / 1000;
  const speed = shown.length > 1 ? `${((shown.length - 1) / seconds).toFixed(1)} FPS` : "";
  const threads = globalThis.crossOriginIsolated ? "" : "  one thread";
  at("speed").textContent = `${speed}  ${game.filled}/${game.described.model.window} frames${threads}`;
  at("held").textContent = [...controls.held()].join(" ");
  document.documentElement.dataset.frames = Number(document.documentElement.dataset.frames ?? 0) + 1;
}

function settings() {
  return { temperature: Number(at("temperature").value), guidance: Number(at("guidance").value) };
}

function showSetting(key) {
  at(`${key}-value`).textContent = Number(at(key).value).toFixed(1);
}

function seed() {
  const text = at("seed").value.trim();
  return /^[0-9]{1,19}$/.test(text) ? BigInt(text) : 0n;
}

/** message: what covers the picture; null: nothing does. */
function cover(message, begin = false) {
  at("cover").hidden = message === null;
  at("message").textContent = message ?? "";
  at("progress").hidden = begin;
  at("play").hidden = at("keys").hidden = !begin;
}

function play() {
  playing = true;
  controls.releaseAll();
  shown = [];
  cover(null);
  screen.focus();
  if (!matchMedia("(pointer: coarse)").matches) screen.requestPointerLock?.()?.catch?.(() => {});
  at("pause").textContent = "Pause";
}

function pause() {
  playing = false;
  controls.releaseAll();
  if (document.pointerLockElement) document.exitPointerLock();
  cover("", true);
  at("pause").textContent = "Play";
}

function fail(error) {
  playing = false;
  cover(`it stopped: ${error.message}`);
  at("progress").hidden = true;
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

/** By their names in world.json; their keys go by what is printed on them. */
const commands = {
  restart,
  "next seed": () => {
    at("seed").value = seed() + 1n;
    restart();
  },
  "previous scene": () => move(-1),
  "next scene": () => move(1),
  pause: () => (playing ? pause() : play()),
  step: () => {
    if (playing) pause();
    single = true;
    cover(null);
  },
  colder: () => change("temperature", -1),
  warmer: () => change("temperature", 1),
  "full screen": fullScreen,
};

function move(by) {
  at("scene").value = (Number(at("scene").value) + by + game.scenes) % game.scenes;
  restart();
}

function change(key, by) {
  at(key)[by < 0 ? "stepDown" : "stepUp"]();
  showSetting(key);
}

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else at("stage").requestFullscreen?.();
}

function listen() {
  at("cover").onclick = () => at("play").hidden || play(); // anywhere on the picture, as in the window
  at("pause").onclick = () => (playing ? pause() : play());
  at("restart").onclick = at("scene").onchange = at("seed").onchange = () => restart();
  at("full").onclick = fullScreen;
  at("panel").onsubmit = (event) => event.preventDefault();
  addEventListener("keydown", (event) => {
    if (event.target.closest("#panel") || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
    const command = commands[game.described.commands[key]];
    if (command) {
      if (!event.repeat) command();
    } else if (playing && !event.repeat) {
      controls.press(event.code);
    }
    if (playing) event.preventDefault();
  });
  addEventListener("keyup", (event) => controls.release(event.code));
  addEventListener("blur", () => controls.releaseAll());
  addEventListener("mousedown", (event) => {
    if (document.pointerLockElement) controls.press(`Mouse${event.button}`);
  });
  addEventListener("mouseup", (event) => controls.release(`Mouse${event.button}`));
  addEventListener("mousemove", (event) => {
    if (document.pointerLockElement) controls.motion(event.movementX, event.movementY);
  });
  addEventListener("wheel", (event) => {
    if (document.pointerLockElement) controls.wheel(Math.sign(event.deltaY));
  });
  screen.onclick = () => playing && !matchMedia("(pointer: coarse)").matches && screen.requestPointerLock?.();
  screen.oncontextmenu = (event) => event.preventDefault();
  document.addEventListener("pointerlockchange", () => {
    if (!document.pointerLockElement && playing) pause();
  });
  document.addEventListener("visibilitychange", () => document.hidden && playing && pause());
  if (matchMedia("(pointer: coarse)").matches) buildTouch(at("touch"), screen, controls);
}

main().catch(fail);
