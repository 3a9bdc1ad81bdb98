"""Plays trials in the real game, once, and keeps each: a VPT clip (`<name>.mp4`, `<name>.jsonl`) and `<name>.json`.

The clips are read back by data/clips.py, so a model gets exactly what training gave it, at its own frame size. A trial
that the game did not really do (nothing was placed, a hill stopped the walk) is tried again elsewhere in the land.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from worldmodel.data.clips import read_clip
from worldmodel.data.frames import write_json
from worldmodel.evaluation.beside_game.block_rule import MIN_CHANGE, change_size
from worldmodel.evaluation.beside_game.trials import HOLD_STEPS, MIRROR_STEPS, MOVE_STEPS, REST, Trial, name_of_walk
from worldmodel.evaluation.beside_game.view import node_mask
from worldmodel.evaluation.beside_game.view_motion import Motion, view_walk
from worldmodel.evaluation.metrics.motion import world_weights
from worldmodel.games.luanti.build import require_packages
from worldmodel.games.luanti.clip_files import ClipWriter, LineMaker
from worldmodel.games.luanti.controls import ActionMapper, Event
from worldmodel.games.luanti.display import Display
from worldmodel.games.luanti.game import LuantiGame
from worldmodel.games.luanti.options import GameOptions
from worldmodel.games.luanti.world import derive_map_seed, reduce_frame
from worldmodel.types import NO_ACTION, Action, Frame, WorldModelError

FORMAT = 1
CRF = 26  # as training clips have it (RecordingOptions)
TRIALS_PER_LAND = 10  # of each kind
ATTEMPTS = 8
LANDS_TRIED = 5  # for what fails so often in one: a walk of 24 nodes over level ground is rare in some
WALK_STRIDE = 2  # steps from frame to frame: a walk shows better over two
MIN_WALK, MAX_CLIMB = 2.0, 0.6  # nodes: less was a wall in the way, more a hill
MIN_HELD = 0.3 * HOLD_STEPS  # nodes, of 0.4 a step
MIN_PACE = {"walk": MIN_WALK, "sprint": 3.6, "sneak": 0.7}  # the same, of about 3.1, 4.7 and 1.1
CHECKED_SIZE = 112, 192  # height, width at which a change must be seen
NODE_MARGIN = 0.05  # nodes around a changed one that are looked at too
OUTLINE = 5  # pixels at a width of 192: of the outline of the node in reach, and of what BLUR spreads of it
PACE_READ = 0.2  # of a pace: as well the real pictures must tell it, which uneven ground and trees hinder
MIN_MIRRORED = 1.2  # of the 1.9 that a walk of MIRROR_STEPS makes
MAX_STRAY = 0.05  # nodes: who digs, places or looks stands still
MAX_MISS = 0.5  # nodes: what a walk there and back may end beside its beginning


@dataclass(frozen=True, slots=True)
class Pose:
    """The player at a frame, as the server knew it one or two ticks before: feet in nodes, angles in degrees."""

    x: float
    y: float
    z: float
    yaw: float
    pitch: float
    slot: int


@dataclass(frozen=True, slots=True)
class RealTrial:
    """frames: uint8 (n + 1, H, W, 3); actions: n, frame t + 1 is the result of action t; start: index of the last
    frame of the context; poses: one a frame; held: steps of the script's first action; node: what was dug or placed."""

    name: str
    kind: str
    variant: str
    start: int
    held: int
    frames: NDArray[np.uint8]
    actions: tuple[Action, ...]
    poses: tuple[Pose, ...]
    node: Event | None


class _Stage:
    """The game while a trial is played and written."""

    def __init__(self, game: LuantiGame, writer: ClipWriter) -> None:
        self._game, self._writer = game, writer
        self._mapper = ActionMapper()
        options = game.options
        self._lines = LineMaker(options.width, options.height, game.state.slot, time.time())
        self._tick = 0
        self.poses = [pose_of(game)]
        self.frames = [game.frame]
        self.events: list[Event] = []

    def step(self, action: Action) -> None:
        for controls in self._mapper.ticks(action):
            self._game.send(controls)
            self._writer.write(self._game.frame, self._lines.line(self._tick, controls, self._game.state))
            self._game.receive()
            self._tick += 1
            self.events += self._game.state.events
        self.poses.append(pose_of(self._game))
        self.frames.append(self._game.frame)


def settled(start: int, held: int) -> int:
    """Index of the frame at which a change made by `held` steps of the button after frame `start` has come to rest."""
    return start + held + len(REST)


def change_mask(node: Event, pose: Pose, height: int, width: int) -> NDArray[np.bool_]:
    """Pixels (height, width) that the node covers in the view of `pose`, without those of the HUD and the hand, and
    without its edges: an outline that comes or goes is neither a block nor a hole."""
    at, feet, edge = (node.x, node.y, node.z), (pose.x, pose.y, pose.z), round(OUTLINE * width / 192)
    covered = node_mask(at, feet, pose.yaw, pose.pitch, height, width, NODE_MARGIN, edge)
    return covered & (world_weights(height, width) > 0)


def pose_of(game: LuantiGame) -> Pose:
    state = game.state
    return Pose(state.x, state.y, state.z, state.yaw, state.pitch, state.slot)


def wander(game: LuantiGame, rng: random.Random) -> None:
    """To another place, over low obstacles, and out of water."""
    game.look(rng.uniform(-180, 180), 8.0)
    for _ in range(3):
        for _ in range(rng.randint(15, 40)):
            game.tick(keys=("w", "space"))
        game.look(rng.uniform(40, 120), 8.0)
        if not game.state.wet:
            break
    for _ in range(12):  # let it fall and stand
        game.tick()


def play_trial(game: LuantiGame, trial: Trial, folder: Path) -> bool:
    """Plays and writes one trial where the player stands; False, and nothing kept, if it did not really happen."""
    game.look(0.0, trial.pitch)
    for _ in range(2):
        game.tick(keys=(str(trial.slot + 1),))
    game.rest()
    options = game.options
    with ClipWriter(folder, trial.name, options.width, options.height, CRF) as writer:
        stage = _Stage(game, writer)
        for action in trial.lead:
            stage.step(action)
        if stage.events:
            return False
        held = 0
        while held < trial.most and not any(event.kind == trial.until for event in stage.events):
            stage.step(trial.script[0])
            held += 1
        for action in trial.script[1:]:
            stage.step(action)
        poses, start = tuple(stage.poses), len(trial.lead)
        stage.step(NO_ACTION)  # a step is read with the frame before it: the last frame needs one more
        if not really_happened(trial, poses[start:], stage.events):
            return False
        if trial.kind in ("pace", "hold"):
            first = walk_from(trial.kind, start, len(poses))
            seen = [reduce_frame(frame, *CHECKED_SIZE) for frame in stage.frames[first:]]
            shown, made = walk_shown(seen, poses[first]), walked(poses[first], poses[-1])[0]
            if abs(shown[0] - made) > PACE_READ * made:
                return False
        node = stage.events[0] if stage.events else None
        if node:
            without, shown = (reduce_frame(stage.frames[at], *CHECKED_SIZE) for at in (start, settled(start, held)))
            if change_size(without, shown, change_mask(node, poses[start], *CHECKED_SIZE)) < MIN_CHANGE:
                return False
        writer.finish()
    write_json(
        folder / f"{trial.name}.json",
        {
            "format": FORMAT,
            "kind": trial.kind,
            "variant": trial.variant,
            "start": start,
            "held": held,
            "poses": [[getattr(pose, name) for name in Pose.__slots__] for pose in poses],
            "node": {name: getattr(node, name) for name in Event.__slots__} if node else None,
        },
    )
    return True


def walked(first: Pose, last: Pose) -> tuple[float, float]:
    """Nodes (forward, right) from one pose to another, as seen from the first."""
    angle, x, z = math.radians(first.yaw), last.x - first.x, last.z - first.z
    return x * math.sin(angle) + z * math.cos(angle), x * math.cos(angle) - z * math.sin(angle)


def walk_from(kind: str, start: int, poses: int) -> int:
    """Index of the frame from which a walk is measured, of so many: a held one by its last MOVE_STEPS."""
    return poses - 1 - MOVE_STEPS if kind == "hold" else start


def walk_shown(frames: Sequence[Frame], pose: Pose) -> Motion:
    """Nodes (forward, right) that MOVE_STEPS show, at the pace that fits them best. frames: from `pose` on."""
    seen = frames[: MOVE_STEPS + 1 : WALK_STRIDE]
    forward, right = view_walk(seen, pose.pitch)
    return forward * (len(seen) - 1), right * (len(seen) - 1)


def really_happened(trial: Trial, poses: Sequence[Pose], events: Sequence[Event]) -> bool:
    """Whether the real game did what the script asks. poses: from the start on; events: of the whole trial."""
    first, last = poses[0], poses[-1]
    walk, climb = walked(first, last), abs(last.y - first.y)
    if trial.kind == "move" and trial.variant != "stand":
        far = math.hypot(*walk) >= MIN_WALK and climb <= MAX_CLIMB
        return far and not events and name_of_walk(*walk) == trial.variant
    if trial.kind == "pace":
        return walk[0] >= max(MIN_PACE[trial.variant], abs(walk[1])) and climb <= MAX_CLIMB and not events
    if trial.kind == "hold":
        before = poses[walk_from(trial.kind, 0, len(poses))]
        goes = walked(before, last)[0] >= MIN_WALK and abs(last.y - before.y) <= MAX_CLIMB
        return goes and walk[0] >= MIN_HELD and not events
    if trial.kind == "mirror" and "walk" in trial.variant:
        turn = poses[MIRROR_STEPS]
        far = math.hypot(*walked(first, turn)) >= MIN_MIRRORED and abs(turn.y - first.y) <= MAX_CLIMB
        return far and math.hypot(*walk) <= MAX_MISS and climb <= MAX_STRAY and not events
    if math.hypot(*walk) > MAX_STRAY or climb > MAX_STRAY:
        return False
    if trial.kind in ("dig", "place"):
        return len(events) == 1 and events[0].kind == trial.kind
    return not events


def is_recorded(folder: Path, trial: Trial) -> bool:
    """The json is renamed last, so with it the trial is whole."""
    return all((folder / f"{trial.name}{suffix}").is_file() for suffix in (".mp4", ".jsonl", ".json"))


def record_trials(trials: Sequence[Trial], folder: Path, seed: int, preset: str) -> None:
    """Records the trials that are not there yet. WorldModelError if the game is missing or the land too rough."""
    todo = [trial for trial in trials if not is_recorded(folder, trial)]
    if not todo:
        return
    require_packages()
    folder.mkdir(parents=True, exist_ok=True)
    land_of = lambda trial: trial.index // TRIALS_PER_LAND  # noqa: E731
    with Display() as display, tqdm(total=len(todo), desc="real game", unit="trial") as bar:
        for land, group in groupby(sorted(todo, key=lambda trial: (land_of(trial), trial.index)), land_of):
            _record_land(list(group), folder, display.name, seed, preset, land, bar)


def _record_land(
    trials: list[Trial], folder: Path, display: str, seed: int, preset: str, land: int, bar: tqdm[Any]
) -> None:
    """The trials of one land; what fails ATTEMPTS times is tried in another land."""
    for other in range(LANDS_TRIED):
        options = GameOptions(map_seed=derive_map_seed("against", seed, land, other), preset=preset)
        failed = []
        with LuantiGame(options, display) as game:
            for trial in trials:
                rng = random.Random(f"{seed}/{trial.name}/{other}")
                for _ in range(ATTEMPTS):
                    wander(game, rng)
                    if play_trial(game, trial, folder):
                        bar.update()
                        break
                else:
                    failed.append(trial)
        if not failed:
            return
        trials = failed
    raise WorldModelError(
        f"the land is too rough for {', '.join(trial.name for trial in trials)}: give another --seed "
        "(what was recorded is kept in its folder)"
    )


def read_trial(folder: Path, name: str, height: int, width: int) -> RealTrial:
    """A recorded trial at a model's frame size. WorldModelError for a file of another format."""
    path = folder / f"{name}.json"
    try:
        values = json.loads(path.read_text())
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}, this version reads {FORMAT}")
        poses = tuple(Pose(*pose) for pose in values["poses"])
        node = Event(**values["node"]) if values["node"] else None
        kind, variant, start, held = (values[key] for key in ("kind", "variant", "start", "held"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorldModelError(
            f"{path} is not a recorded trial ({error}): remove it, and it is recorded again"
        ) from None
    steps = list(read_clip(path.with_suffix(".mp4"), height, width))
    if len(steps) < len(poses):
        raise WorldModelError(f"{path} has {len(poses)} frames, its video {len(steps)}: remove it")
    steps = steps[: len(poses)]
    frames = np.stack([step.frame for step in steps])
    return RealTrial(name, kind, variant, start, held, frames, tuple(s.action for s in steps[:-1]), poses, node)
