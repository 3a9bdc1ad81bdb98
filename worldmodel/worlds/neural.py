"""The neural world: a checkpoint, played. Actions in, frames out; the same inputs give the same tokens."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import re
import time
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kernels.sampling import Sampler
from worldmodel.checkpoint import CONFIG_FILE, SHORT_HASH, WEIGHTS_FILE, read_config, stored_parameters, weights_hash
from worldmodel.data.hud import HOTBAR_LINES, shown_slot
from worldmodel.engine.choice import ENGINES, Engine, build_engine, build_lanes, choose_device
from worldmodel.engine.decoder import Decoder
from worldmodel.engine.forks import enter
from worldmodel.engine.lanes import LaneStep
from worldmodel.model.loading import WorldModel, load_config, load_sampler, load_starts, load_world_model
from worldmodel.settings import EngineOptions
from worldmodel.tokenizers.image import to_pixels
from worldmodel.types import Action, Frame, StartScene, Status, Step, Tokens, WorldModelError

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"
FOLDERS_ABOVE = 3  # a recording, in which its checkpoint is looked for
SHOWN_NAME = 60  # characters of a world's name in a sentence


def find_checkpoint(name: str, *others: str) -> Path:
    """ "nano" or a folder -> the checkpoint's folder. WorldModelError if there is none; others: what else may be given
    where it is asked for."""
    shipped = PRETRAINED / name
    if "/" not in name and "\\" not in name and os.path.isdir(shipped):
        return shipped
    if os.path.isdir(name):  # Path's own raises for too long a name
        return Path(name)
    shipped = sorted(path for path in PRETRAINED.iterdir() if path.is_dir()) if PRETRAINED.is_dir() else []
    worlds = [f'"{path.name}"' for path in shipped if "model" in read_config(path)]
    known = ", ".join((*worlds, *others))
    raise WorldModelError(f"no world {name!r}: give {f'{known} or ' if known else ''}a checkpoint's folder")


def find_recorded(checkpoint: str, world: str, weights: str = "", near: Path | None = None) -> Path:
    """The folder of a recording's checkpoint: one whose weights are the recorded ones goes before one of the same name.

    checkpoint, world, weights: of its header; near: the recording. Looked at are: where older recordings say it was,
    the shipped worlds, and folders of that name in the current folder, beside the recording and up to three folders
    above it, and in any folder of those. WorldModelError if it is nowhere: it has moved, or was never here.
    """
    first: Path | None = None
    for folder in _of_name(checkpoint, world, near):
        if not weights or weights_hash(folder) == weights:
            return folder
        first = first or folder
    if first is not None:
        return first
    name = world if len(world) <= SHOWN_NAME else f"{world[: SHOWN_NAME - 3]}..."
    raise WorldModelError(
        f"no world {name!r} with the weights {weights[:SHORT_HASH] or 'of the recording'}, here or near the recording: "
        "give its folder with --world"
    )


def _of_name(checkpoint: str, world: str, near: Path | None) -> Iterator[Path]:
    """Checkpoint folders that a recording may mean, likelier ones first."""
    last = re.split(r"[\\/]", checkpoint)[-1]
    names = [name for name in dict.fromkeys((last, world)) if re.fullmatch(r"[^\\/]+", name) and name.strip(".")]
    around = near.resolve().parents[: FOLDERS_ABOVE + 1] if near is not None else ()
    roots = dict.fromkeys((Path.cwd(), *around))
    places = (
        *([Path(checkpoint)] if last != checkpoint else []),
        *(PRETRAINED / name for name in names),
        *(root / name for root in roots for name in names),
    )
    yield from filter(_is_checkpoint, places)
    for root in roots:
        for name in names:
            with contextlib.suppress(OSError):  # a folder that may not be read
                yield from filter(_is_checkpoint, (Path(entry) / name for entry in os.scandir(root) if entry.is_dir()))


def _is_checkpoint(folder: Path) -> bool:
    # os.path's: a recording can name anything, and to Path's own, too long a name or one with a NUL is an error.
    return os.path.isfile(folder / CONFIG_FILE) and os.path.isfile(folder / WEIGHTS_FILE)


class NeuralWorld:
    """A world model behind the World protocol.

    Files and options are checked at once; the weights are loaded and the engine is built by `load`, or when they are
    first needed. Until it is opened, it can be pickled and copied.

    `sampler`: the checkpoint's own unless another is given; change it between steps at will. `opening` is the context
    that play last started from; `notices` says what the user should know of where it runs.
    """

    def __init__(self, folder: Path, options: EngineOptions | None = None, sampler: Sampler | None = None) -> None:
        options = options or EngineOptions()
        if options.engine not in ENGINES:
            raise WorldModelError(f"unknown engine {options.engine!r}; known are {', '.join(ENGINES)}")
        self.folder = folder
        self.name = folder.name
        config = load_config(folder)
        self._options = options
        self.device, self._notices = choose_device(config, stored_parameters(folder, "transformer"), options)
        self.weights = weights_hash(folder)
        self.scenes = load_starts(folder, config)
        self.frame_shape = (config.image_tokenizer.height, config.image_tokenizer.width)
        self.tick_rate = config.tick_rate
        self.hud = config.game if config.game in HOTBAR_LINES else None  # whose hotbar its pictures show
        self.actions = config.action_tokenizer()
        self.sampler = sampler or load_sampler(folder)
        self.window = config.transformer.window
        self.seed = 0
        self.frame = 0
        self.opening: StartScene | None = None
        self._digest = hashlib.sha256()

    def __reduce__(self) -> tuple[type[NeuralWorld], tuple[Path, EngineOptions, Sampler]]:
        """Of a world that is played, the cache would be lost: WorldModelError."""
        if self.opening is not None:
            raise WorldModelError(f"the world {self.name} is being played: it can be pickled and copied before that")
        return NeuralWorld, (self.folder, self._options, self.sampler)

    def load(self) -> NeuralWorld:
        """Loads the weights and builds the engine now. WorldModelError for weights that cannot be used."""
        assert self._built, "built by being asked for"
        return self

    def lanes(self, count: int) -> list[NeuralWorld]:
        """Worlds of these weights for `count` players, a thread each; see build_lanes."""
        engines = build_lanes(self.model, self.device, self._options, count)
        worlds: list[NeuralWorld] = [copy.copy(self) for _ in engines]
        for world, engine in zip(worlds, engines, strict=True):
            world.__dict__.update(model=self.model, _built=engine)  # what the cached properties would make
        return worlds

    @cached_property
    def model(self) -> WorldModel:
        enter(self.device)
        return load_world_model(self.folder)

    @cached_property
    def _built(self) -> Engine:
        return build_engine(self.model, self.device, self._options)

    @property
    def _engine(self) -> Engine:
        enter(self.device)  # it may have been built before a fork
        return self._built

    @property
    def engine(self) -> str:
        """The engine's name, as --engine takes it."""
        return self._built.name

    @property
    def decoder(self) -> Decoder:
        return self._engine.decoder

    @property
    def notices(self) -> tuple[str, ...]:
        return (*self._notices, *self._built.notices)

    @property
    def starts(self) -> int:
        return len(self.scenes)

    @property
    def filled(self) -> int:
        """Frames in the context."""
        return self.decoder.filled

    @property
    def tokens_sha256(self) -> str:
        """Hash of all tokens made since the last reset."""
        return self._digest.hexdigest()

    def pixels(self, tokens: Tokens) -> Frame:
        """Image tokens (places,) -> frame."""
        return self._engine.pixels(tokens)

    def reset(self, start: int = 0, seed: int = 0) -> Step:
        """Opens start scene `start` (modulo their number). WorldModelError if the checkpoint has none."""
        if not self.scenes:
            raise WorldModelError(f"{self.folder} has no start scenes: give a picture with --start PICTURE")
        # Two lines: AsyncVectorEnv formats a failing one with the operator % once more, so it must not hold it.
        scene = self.scenes[start % len(self.scenes)]
        return self.open(scene, seed)

    def open(self, scene: StartScene, seed: int = 0, frame: int = 0) -> Step:
        """Starts from a given opening context. frame: number of the next step, which keys its random numbers."""
        decoder, began = self.decoder, time.perf_counter()
        # Copies, here and below: what the caller does with an opening or a step does not change the game.
        scene = StartScene(scene.tokens.copy(), scene.actions.copy())
        decoder.open(list(scene.tokens), list(scene.actions))
        self.seed, self.frame, self.opening = seed, frame, scene
        self._digest = hashlib.sha256()
        tokens = scene.tokens[-1].copy()
        picture = self.pixels(tokens)
        return Step(picture, tokens, {"open": time.perf_counter() - began}, self._status(picture))

    @torch.inference_mode()
    def scene_of(self, picture: Frame, repeats: int = 2) -> StartScene:
        """A picture of the user's own as an opening: it stands still for `repeats` frames.

        picture: uint8 (H, W, 3) of the model's size. WorldModelError for another size.
        """
        if picture.shape[:2] != self.frame_shape:
            raise WorldModelError(
                f"the start picture is {picture.shape[:2]}, the model's frames are {self.frame_shape}"
            )
        pixels = to_pixels(torch.from_numpy(np.ascontiguousarray(picture))[None]).to(self.device)
        tokens = self.model.tokenizer.encode(pixels)[0].cpu().numpy().astype(np.int32)
        return self.still(tokens, repeats)

    def scene_of_clip(self, path: Path) -> StartScene:
        """A clip (FILE.mp4, its actions beside it) as an opening: MineWorld's scenes, or VPT's. Of a world of 20 Hz,
        every picture of it up to the context's size less one; of another, as it reads clips in training. ClipError for
        a clip that cannot be used."""
        from worldmodel.data.clips import ClipError, read_clip
        from worldmodel.data.video import TICKS_PER_SECOND
        from worldmodel.minecraft.scenes import encode, read_scene, start_scene

        most = max(1, self.window - 1)
        if self.tick_rate == TICKS_PER_SECOND:
            return start_scene(self.model, read_scene(path, *self.frame_shape, most=most))
        steps = list(islice((step for step in read_clip(path, *self.frame_shape) if not step.segment), most))
        if not steps:
            raise ClipError(f"{path}: no step of play in it")
        tokens = encode(self.model.tokenizer, np.stack([step.frame for step in steps]))
        actions = [self.actions.encode(step.action) for step in steps[:-1]]
        return StartScene(tokens, np.stack(actions) if actions else self.still(tokens[0], 1).actions)

    def told(self, action: Action) -> Action:
        """The action with the camera's move that the model is told in its place."""
        return self.actions.told(action)

    def still(self, tokens: Tokens, repeats: int = 2) -> StartScene:
        """A frame that has stood still for `repeats` frames, as an opening."""
        idle = self.actions.encode(Action())
        return StartScene(np.stack([tokens] * repeats), np.stack([idle] * repeats)[1:])

    def step(self, action: Action) -> Step:
        decoder, began = self.decoder, time.perf_counter()
        asked = self.asked(action)
        tokens, _ = decoder.decode(asked.action, asked.sampler, asked.seed, asked.frame)
        return self.made(asked, tokens, time.perf_counter() - began)

    def asked(self, action: Action) -> LaneStep:
        """What the engine is asked for next: the first half of a step, which changes nothing."""
        return LaneStep(self.actions.encode(action), self.sampler, self.seed, self.frame)

    def made(self, asked: LaneStep, tokens: Tokens, seconds: float) -> Step:
        """The second half: the picture of what the engine made of it, in so many seconds."""
        began = time.perf_counter()
        frame = self.pixels(tokens)
        timings = {"decode": seconds, "pixels": time.perf_counter() - began}
        self.frame += 1
        self._digest.update(tokens.astype("<i4").tobytes())
        return Step(frame, tokens.copy(), timings, self._status(frame), told=asked.action)

    def facts(self) -> dict[str, Any]:
        """See worldmodel.types.Neural."""
        return {
            "engine": self.engine,
            "device": str(self.device),
            "checkpoint": self.folder,
            "weights": self.weights,
            "tokens_sha256": self.tokens_sha256,
        }

    def status_of(self, picture: Frame, filled: int) -> Status:
        """What the world tells with a picture. filled: frames in the context then."""
        slot = shown_slot(picture, self.hud) if self.hud is not None else None
        stage = getattr(self.decoder, "stage", "graph")  # how far the CUDA engine is
        return Status(
            context=(filled, self.window),
            sampler=self.sampler,
            slot=None if slot is None else slot + 1,
            notes=() if stage == "graph" else (("engine", stage),),
        )

    def _status(self, picture: Frame) -> Status:
        return self.status_of(picture, self.filled)

    def close(self) -> None:
        pass
