// The bar of a recording that is watched: click or drag to go there.

/** area: gets the elements; seek(position); leave(): back to the game. */
export function buildTimeline(area, seek, leave) {
  const bar = document.createElement("input"), clock = document.createElement("output"), back = document.createElement("button");
  Object.assign(bar, { type: "range", min: 0, step: 1 });
  bar.setAttribute("aria-label", "position");
  back.type = "button";
  back.textContent = "Back to the game";
  back.onclick = leave;
  const marks = document.createElement("div");
  marks.className = "marks";
  area.replaceChildren(bar, marks, clock, back);
  let dragging = false, recording = null;
  bar.oninput = () => seek(Number(bar.value));
  bar.onpointerdown = () => (dragging = true);
  bar.onpointerup = bar.onpointercancel = () => (dragging = false);
  return {
    /** recording: the "replay" of a state, or null. */
    set(next) {
      if (JSON.stringify(next) === JSON.stringify(recording)) return;
      recording = next;
      area.hidden = !recording;
      if (!recording) return;
      bar.max = recording.length;
      marks.replaceChildren(...[["bookmarks", "bookmark"], ["cuts", "cut"]].flatMap(([list, kind]) =>
        recording[list].map((position) => {
          const mark = document.createElement("i");
          mark.className = kind;
          mark.style.left = `${(100 * position) / Math.max(1, recording.length)}%`;
          return mark;
        }),
      ));
    },
    show(position) {
      if (!recording) return;
      if (!dragging) bar.value = position;
      const times = [position, recording.length].map((steps) => time(steps, recording.rate));
      clock.textContent = recording.problem || `${times.join(" / ")}   step ${position} of ${recording.length}`;
    },
  };
}

function time(steps, rate) {
  const seconds = Math.round(steps / rate);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
