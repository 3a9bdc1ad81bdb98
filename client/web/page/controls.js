// Keys, mouse and touches -> one action a step: the twin of client/play/controls.py for a browser. Pure: no clock,
// no elements. A key is a KeyboardEvent.code, or "Mouse0" and so on.

const KEY_DEGREES_PER_SECOND = 90; // a camera key held down
const SLOTS = 9;
const NEIGHBOURS = { "hotbar.next": 1, "hotbar.previous": -1 };
const CAMERA = { "camera.up": [-1, 0], "camera.down": [1, 0], "camera.left": [0, -1], "camera.right": [0, 1] };

export class Controls {
  /** keys: what each key does; degrees: turned by a pixel of mouse motion; rate: steps a second; told: the action that
   * the model takes in place of one. What it was not told of a move of the camera is part of the next one. */
  constructor(keys, degrees, rate, told) {
    Object.assign(this, { keys, degrees, rate, told, down: new Set(), latched: new Set(), slot: 1 });
    this.forget();
  }

  /** -> whether the key is one of the game's. */
  press(key) {
    const target = this.keys[key];
    if (!target) return false;
    if (target in NEIGHBOURS) {
      this.wheel(NEIGHBOURS[target]);
      return true;
    }
    this.down.add(target);
    this.latched.add(target);
    if (target.startsWith("hotbar.")) this.#choose(Number(target.slice("hotbar.".length)));
    return true;
  }

  release(key) {
    this.down.delete(this.keys[key]);
  }

  motion(dx, dy) {
    this.dx += dx;
    this.dy += dy;
  }

  /** notches: positive chooses the next hotbar slot. */
  wheel(notches) {
    this.#choose(((((this.slot - 1 + notches) % SLOTS) + SLOTS) % SLOTS) + 1);
  }

  /** The page lost the keyboard: everything is up, and nothing counts any more. */
  releaseAll() {
    this.down.clear();
    this.forget();
  }

  forget() {
    this.latched.clear();
    this.dx = this.dy = 0;
    this.untold = { pitch: 0, yaw: 0 };
    this.turned = null;
  }

  /** Buttons that are down, for the display. */
  held() {
    return new Set([...this.down].filter((target) => !(target in CAMERA)));
  }

  /** The action of the step that starts now. Short presses and the mouse's motion are used up; held keys stay. */
  take() {
    const targets = new Set([...this.down, ...this.latched]);
    let pitch = this.dy * this.degrees + this.untold.pitch, yaw = this.dx * this.degrees + this.untold.yaw;
    const buttons = new Set();
    for (const target of targets) {
      if (target in CAMERA) {
        pitch += (CAMERA[target][0] * KEY_DEGREES_PER_SECOND) / this.rate;
        yaw += (CAMERA[target][1] * KEY_DEGREES_PER_SECOND) / this.rate;
      } else if (!target.startsWith("hotbar.") || target === `hotbar.${this.slot}`) {
        buttons.add(target);
      }
    }
    if (this.turned) buttons.add(`hotbar.${this.turned}`);
    this.forget();
    const told = this.told({ buttons, pitch, yaw });
    this.untold = { pitch: pitch - told.pitch, yaw: yaw - told.yaw };
    return told;
  }

  #choose(slot) {
    this.slot = this.turned = slot;
  }
}
