// On a touch screen: buttons over the picture, and a finger that drags the view.

const PIXELS = 3; // of mouse motion for one of the finger's
const MOVE = [["", ""], ["KeyW", "▲"], ["Space", "jump"], ["KeyA", "◀"], ["KeyS", "▼"], ["KeyD", "▶"]];
const DO = [["Mouse0", "dig"], ["Mouse2", "place"]];

/** Fills `area` with buttons; `screen`: what is dragged on. */
export function buildTouch(area, screen, controls) {
  area.hidden = false;
  area.replaceChildren(...[["move", MOVE], ["do", DO]].map(([kind, list]) => {
    const group = document.createElement("div");
    group.className = kind;
    group.append(...list.map(([key, label]) => (key ? button(key, label, controls) : document.createElement("span"))));
    return group;
  }));
  let last = null;
  screen.onpointerdown = (event) => {
    last = event;
    screen.setPointerCapture(event.pointerId);
  };
  screen.onpointermove = (event) => {
    if (last?.pointerId !== event.pointerId) return;
    controls.motion((event.clientX - last.clientX) * PIXELS, (event.clientY - last.clientY) * PIXELS);
    last = event;
  };
  screen.onpointerup = screen.onpointercancel = () => (last = null);
}

function button(key, label, controls) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.onpointerdown = (event) => {
    event.preventDefault();
    made.classList.add("down");
    controls.press(key);
  };
  made.onpointerup = made.onpointercancel = made.onpointerleave = () => {
    made.classList.remove("down");
    controls.release(key);
  };
  made.oncontextmenu = (event) => event.preventDefault();
  return made;
}
