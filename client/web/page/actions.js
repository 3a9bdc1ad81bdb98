// An action -> the model's tokens: the twin of ActionTokenizer (worldmodel/tokenizers/action.py).
// An action is { buttons: Set of names, pitch, yaw } in degrees; positive pitch looks down, positive yaw right.

/** known: world.json's "actions". -> an array of 11 tokens. */
export function encodeAction({ buttons, pitch, yaw }, known) {
  const [pitches, yaws] = known.camera.ids;
  const ids = [known.bos, pitches[cameraBin(pitch, known.camera)], yaws[cameraBin(yaw, known.camera)]];
  for (const slot of known.slots) {
    const held = slot.filter(([name]) => buttons.has(name));
    ids.push(held.length === 1 ? held[0][1] : known.none); // two that exclude each other are none
  }
  ids.push(known.eos);
  return ids.map((id) => id + known.base);
}

/** The action with the camera's move that the model is told in its place. */
export function toldAction({ buttons, pitch, yaw }, { camera }) {
  return { buttons, pitch: camera.told[cameraBin(pitch, camera)], yaw: camera.told[cameraBin(yaw, camera)] };
}

/** Degrees -> the bin of a mu-law scale. */
function cameraBin(given, { degrees: most, bin, mu, truncated }) {
  const clipped = Math.max(-most, Math.min(most, truncated ? Math.trunc(given) : given));
  const share = Math.log1p((mu * Math.abs(clipped)) / most) / Math.log1p(mu);
  return halfToEven((Math.sign(clipped) * share * most + most) / bin);
}

function halfToEven(value) {
  const floor = Math.floor(value), rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 ? floor + 1 : floor;
}
