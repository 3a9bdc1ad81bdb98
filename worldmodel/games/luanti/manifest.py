"""What is to be recorded of the real game, and what has been: the options, and the folder's manifest."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worldmodel.data.ticks import parse_line
from worldmodel.data.video import TICKS_PER_STEP, ClipError
from worldmodel.games.luanti.art import DEFAULT_STYLE
from worldmodel.games.luanti.controls import BUTTON_OF_KEY, HOTBAR_SLOTS, KEY_PREFIX, MOUSE_OF_BUTTON
from worldmodel.games.luanti.hands import PlayerOptions
from worldmodel.games.luanti.options import GameOptions
from worldmodel.games.luanti.player import USUAL
from worldmodel.games.luanti.presets import DEFAULT_LAND
from worldmodel.games.luanti.world import derive_map_seed
from worldmodel.types import WorldModelError

MANIFEST = "recording.json"
ACTION_OF_MOUSE = {number: button for button, number in MOUSE_OF_BUTTON.items()}


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """What is recorded, and how it is played."""

    out: Path
    """Folder for the clips."""
    clips: int = 1
    """How many."""
    frames: int = 3000
    """Of each, 20 a second."""
    seed: int = 0
    """Of lands and players."""
    preset: str = DEFAULT_LAND
    """Kind of land, as in worldmodel play --world luanti:LAND."""
    style: str = DEFAULT_STYLE
    """Style of the game's art (worldmodel/games/luanti/art.py)."""
    width: int = 384
    """Of the frames, an even number of pixels."""
    height: int = 224
    """Of the frames, an even number of pixels."""
    workers: int = 1
    """Games at once."""
    crf: int = 23
    """Quality of the H.264 encoding: lower is better and larger."""
    viewing_range: int = 40
    """How far one sees, in nodes."""
    wheel: float = USUAL.wheel
    """Share of hotbar changes that are made with the wheel."""
    drop: float = USUAL.drop
    """Chance a tick of throwing an item away."""
    steady: float = USUAL.steady
    """Share of the habits that are played with a hand that does not tremble."""
    deliberate: float = USUAL.deliberate
    """Share of the habits that are one deed out of a standstill, and then a look at what has become of it."""

    def __post_init__(self) -> None:
        for name in ("clips", "frames", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf must be 0..51, got {self.crf}")
        if self.width % 2 or self.height % 2:
            raise ValueError(f"H.264 needs an even width and height, got {self.width}x{self.height}")
        self.game(0)
        self.player()

    def clip_id(self, index: int) -> str:
        return f"luanti-{self.preset}-{self.seed}-{index}"

    def game(self, index: int) -> GameOptions:
        """Of clip `index`. ValueError for a size, preset or range that the game does not have."""
        return GameOptions(
            width=self.width,
            height=self.height,
            map_seed=derive_map_seed("clip", self.seed, index),
            preset=self.preset,
            style=self.style,
            viewing_range=self.viewing_range,
            render_threads=max(1, (os.cpu_count() or 1) // self.workers),
        )

    def player(self) -> PlayerOptions:
        """ValueError for what is no share."""
        return PlayerOptions(self.wheel, self.drop, self.steady, self.deliberate)

    def contents(self) -> dict[str, Any]:
        """What the clips hang on: all but where, how many and how many at once."""
        return {name: value for name, value in asdict(self).items() if name not in ("out", "clips", "workers")}


def clip_is_whole(options: RecordingOptions, index: int) -> bool:
    """The jsonl is renamed last, so with it the clip is whole."""
    path = options.out / options.clip_id(index)
    return path.with_suffix(".mp4").is_file() and path.with_suffix(".jsonl").is_file()


def clip_stats(path: Path) -> dict[str, Any]:
    """Of a `<id>.jsonl`: its number of frames, how often nodes were dug and placed, and the share of the frames with
    each action (MineRL's names, and "camera" and "wheel"), with each slot in hand, in water and in the dark."""
    count: Counter[str] = Counter()
    held: Counter[int] = Counter()
    done: Counter[str] = Counter()
    frames = 0
    with path.open(encoding="utf-8") as lines:
        for number, text in enumerate(lines, 1):
            line = parse_line(text, path, number)
            mouse = line["mouse"]
            frames += 1
            count.update(BUTTON_OF_KEY[key.removeprefix(KEY_PREFIX)] for key in line["keyboard"]["keys"])
            count.update(ACTION_OF_MOUSE[button] for button in mouse["buttons"])
            count["camera"] += bool(mouse["dx"] or mouse["dy"])
            count["wheel"] += bool(mouse["dwheel"])
            count["in water"] += line["wet"] > 0
            count["in the dark"] += line["light"] < 5
            held[line["hotbar"]] += 1
            done.update(event.split()[0] for event in line["events"])
    if not frames:
        raise ClipError(f"{path} is empty: remove it and its mp4")
    return {
        "frames": frames,
        "dug": done["dig"],
        "placed": done["place"],
        "shares": {name: round(number / frames, 4) for name, number in sorted(count.items())},
        "slots": [round(held[slot] / frames, 4) for slot in range(HOTBAR_SLOTS)],
    }


def read_manifest(options: RecordingOptions) -> dict[str, Any]:
    """The entries of the clips that were recorded before, by id. WorldModelError if the folder holds clips of other
    settings: they would be mistaken for these."""
    path = options.out / MANIFEST
    if not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_text())
        earlier, clips = manifest["settings"], manifest["clips"]
        if not isinstance(earlier, dict) or not isinstance(clips, dict):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise WorldModelError(f"{path} is not a recording's manifest: choose another folder") from None
    changed = [
        f"{name} {earlier.get(name)} -> {now}" for name, now in options.contents().items() if earlier.get(name) != now
    ]
    if changed:
        raise WorldModelError(
            f"{options.out} holds a recording with other settings ({', '.join(changed)}): choose another folder"
        )
    return clips


def _entry(options: RecordingOptions, index: int) -> dict[str, Any]:
    """A whole clip's statistics, land, and the SHA-256 of its two files."""
    path = options.out / options.clip_id(index)
    files = path.with_suffix(".mp4"), path.with_suffix(".jsonl")
    return {
        **clip_stats(files[1]),
        "map_seed": options.game(index).map_seed,
        "sha256": {file.suffix.removeprefix("."): hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
    }


def write_manifest(options: RecordingOptions, clips: dict[str, Any]) -> None:
    """clips: entries known so far; those of clips that have become whole are added. Shares are means over frames."""
    for index in range(options.clips):
        if options.clip_id(index) not in clips and clip_is_whole(options, index):
            clips[options.clip_id(index)] = _entry(options, index)
    frames = sum(clip["frames"] for clip in clips.values())
    names = sorted({name for clip in clips.values() for name in clip["shares"]})
    total = {
        "clips": len(clips),
        "lands": len({clip["map_seed"] for clip in clips.values()}),
        "frames": frames,
        "steps": frames // TICKS_PER_STEP,
        "shares": {
            name: round(sum(clip["frames"] * clip["shares"].get(name, 0) for clip in clips.values()) / frames, 4)
            for name in names
        },
    }
    manifest = {"game": "Luanti (minetest_game)", "settings": options.contents(), "total": total, "clips": clips}
    unfinished = options.out / f"{MANIFEST}.tmp"
    unfinished.write_text(json.dumps(manifest, indent=1) + "\n")
    unfinished.replace(options.out / MANIFEST)
