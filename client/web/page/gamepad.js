// A gamepad's keys are keys, by the names of client/play/bindings.py; its right stick is the mouse. Polled, since a
// browser sends no events for it.

const BUTTONS = {
  0: "Pad A", 1: "Pad B", 2: "Pad X", 3: "Pad Y", 4: "Pad Left Shoulder", 5: "Pad Right Shoulder", 6: "Pad Left Trigger",
  7: "Pad Right Trigger", 8: "Pad Back", 9: "Pad Start", 10: "Pad Left Stick", 11: "Pad Right Stick", 12: "Pad D-Up",
  13: "Pad D-Down", 14: "Pad D-Left", 15: "Pad D-Right", 16: "Pad Guide",
};
const STICK = [["Pad Stick-Left", "Pad Stick-Right"], ["Pad Stick-Up", "Pad Stick-Down"]];
const PRESS_AT = 0.5, RELEASE_AT = 0.4, DEAD = 0.15, DEGREES_PER_SECOND = 180;

/** game: gets press, release and motion; degrees: turned by a pixel of motion; active: whether one plays. */
export function watchPads(game, degrees, active) {
  const down = new Set();
  let last = performance.now();
  const set = (key, value) => {
    const held = down.has(key);
    if (!held && value >= PRESS_AT && active()) {
      down.add(key);
      game.press(key);
    } else if (held && value < RELEASE_AT) {
      down.delete(key);
      game.release(key);
    }
  };
  const poll = (now) => {
    const pad = [...navigator.getGamepads()].find((one) => one?.mapping === "standard");
    for (const [index, key] of Object.entries(BUTTONS)) set(key, pad?.buttons[index]?.value ?? 0);
    STICK.forEach(([less, more], axis) => {
      const value = pad?.axes[axis] ?? 0;
      set(less, -value);
      set(more, value);
    });
    const turn = ((now - last) / 1000) * (DEGREES_PER_SECOND / degrees);
    const [dx, dy] = [2, 3].map((axis) => turn * pastDeadZone(pad?.axes[axis] ?? 0));
    if ((dx || dy) && active()) game.motion(dx, dy);
    last = now;
    requestAnimationFrame(poll);
  };
  if (navigator.getGamepads) requestAnimationFrame(poll);
}

function pastDeadZone(value) {
  const depth = Math.max(0, Math.abs(value) - DEAD) / (1 - DEAD);
  return value < 0 ? -depth : depth;
}
