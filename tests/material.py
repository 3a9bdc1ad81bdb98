"""Good files of every kind that a stranger may bring, their mutations, and what uses them. tests/fuzz.py runs them."""

from __future__ import annotations

import dataclasses
import io
import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import random_steps, tiny_config, tiny_transformer, vpt_line, write_clip
from mutate import mutated, mutated_bytes, mutated_text
from odd import packed, write_odd
from PIL import Image
from records import record_branched
from released import HEIGHT, WIDTH, write_files

from client.play.bindings import read_bindings
from client.play.controls import Controls
from client.play.game import Game
from client.play.pictures import load_picture
from client.serve.protocol import COMMANDS, Input, read_message
from client.sessions.listing import row_of
from client.sessions.playback import ReplayWorld, date_of, name_of, usable
from client.sessions.resume import Resume
from client.sessions.simulation import verify
from client.sessions.timeline import timeline_of
from client.web.keys import page_codes
from recordings.format import HEADER, INDEX, MARKER, RECORD, STEP
from recordings.reader import read_session
from scripts.ship_checkpoint import read_starts
from worldmodel.checkpoint import CONFIG_FILE
from worldmodel.data.ticks import read_actions
from worldmodel.data.video import fit_to, fitted, open_video
from worldmodel.data.video import pictures as shown_at
from worldmodel.minecraft.lines import read_action_lines
from worldmodel.minecraft.released_names import TOKENIZER
from worldmodel.minecraft.released_sizes import Reading, image_config, yaml_sizes
from worldmodel.minecraft.vpt import RULES, find_recordings, read_recording
from worldmodel.minecraft.weights import read_state
from worldmodel.model.loading import (
    STARTS_FILE,
    load_config,
    load_sampler,
    load_starts,
    load_world_model,
    save_starts,
    save_world_model,
)
from worldmodel.parsing import read_json
from worldmodel.settings import EngineOptions
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import BUTTONS, StartScene, WorldModelError
from worldmodel.worlds.neural import NeuralWorld

SIMULATED = 50  # one session in so many is also simulated and resumed
LARGE = 100  # one in so many is as large as a file may be that MOST_BYTES counts for
MOST_FILE = 1 << 20
LOOKED_AT = 50  # steps of a session, at most
PICTURE = (48, 80)  # height, width
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # the last two are not read: they must be refused


class Material:
    """Good files of every kind, and what uses them. folder: for them and for the cases."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self.folder, config = folder, tiny_config()
        self.world_folder = folder / "world"
        tokenizer = ImageTokenizer(config.image_tokenizer)
        save_world_model(self.world_folder, config, tokenizer, tiny_transformer(config))
        scenes = [StartScene(tokens, actions[:2]) for tokens, actions in (random_steps(config, 3, s) for s in range(3))]
        save_starts(self.world_folder, scenes)
        self.config, self.image = config, config.image_tokenizer
        self.config_text = (self.world_folder / CONFIG_FILE).read_text()
        self.starts_file = (self.world_folder / STARTS_FILE).read_bytes()
        self.world = NeuralWorld(self.world_folder, EngineOptions("eager", threads=1))
        self.session = read_session(record_branched(self.world, folder / "good.wms"))
        self.session_bytes = (folder / "good.wms").read_bytes()
        self.codes = page_codes()
        self.good_pictures = _pictures()
        self.video = write_clip(folder / "video", [vpt_line()] * 12).read_bytes()
        files = write_files(folder / "mineworld")
        self.yaml, self.vq = (files[name].read_text() for name in ("model.yaml", "config.json"))
        vq = read_state(files["vae.ckpt"])
        self.vq_state = {f"{TOKENIZER}{name}": tensor for name, tensor in vq.items()}

    # Each kind: writes a case's file, and uses it.

    def sessions(self, rng: random.Random) -> None:
        path = self.folder / "case.wms"
        kind = rng.randrange(4)
        if rng.randrange(LARGE) == 0:
            self._large(path, rng)
        elif kind < 2:
            with suppress(OverflowError):  # a number that no file can hold: the case before is tried again
                write_odd(path, self.session, lambda *parts: self._change(parts, rng))
        elif kind == 2:
            path.write_bytes(self._with_crcs(rng))
        else:
            path.write_bytes(mutated_bytes(self.session_bytes, rng))
        row = row_of(path, self.folder, False)
        assert all(isinstance(cell, str) for cell in row), row
        session = usable(read_session(path), path, self.image)
        timeline = timeline_of(session)
        steps = range(0, len(session.steps), 1 + len(session.steps) // LOOKED_AT)
        for position in (*steps, len(session.steps)):
            dataclasses.replace(timeline, position=position).clock()
        date_of(session.header), name_of(session.header)
        for step in steps:
            session.path_to(step), session.seed_of(step), session.opening_of(step)
        list(session.stretches())
        if rng.randrange(SIMULATED) == 0:
            shown = ReplayWorld(session, self.world_folder, 1)
            for position in range(min(len(session.steps), 8) + 1):
                shown.seek(position)
            Game(self.world, Resume(path)).restart()
            verify(session, self.world)

    def _large(self, path: Path, rng: random.Random) -> None:
        """One thing again and again, up to MOST_FILE bytes; and then something changed in it."""
        plain = [(kind, mutated_bytes(payload, rng)) for kind, payload in self._records()]
        kind, payload = rng.choice(plain[1:])
        data = bytearray(self.session_bytes[:12] + packed(*self._records()[0]))
        again = packed(kind, payload)
        data += again * ((MOST_FILE - len(data)) // len(again))
        path.write_bytes(mutated_bytes(bytes(data), rng) if rng.random() < 0.5 else data)

    @staticmethod
    def _change(parts: tuple[Any, ...], rng: random.Random) -> None:
        """write_odd's changes are made in place."""
        changed = mutated(list(parts), rng)
        for part, new in zip(parts, [*changed, None, None, None], strict=False):
            if type(part) is type(new):
                part.clear()
                part.update(new) if isinstance(part, dict) else part.extend(new)

    def _with_crcs(self, rng: random.Random) -> bytes:
        """Payloads whose bytes were changed, with right lengths and CRCs."""
        records = self._records()
        for _ in range(rng.choice((1, 1, 2))):
            pick = rng.randrange(len(records))
            kind, payload = records[pick]
            kind = rng.choice((HEADER, STEP, MARKER, INDEX, 200)) if rng.random() < 0.1 else kind
            records[pick] = kind, mutated_bytes(payload, rng)
        return self.session_bytes[:12] + b"".join(packed(kind, payload) for kind, payload in records)

    def _records(self) -> list[tuple[int, bytes]]:
        """Kind and payload of each."""
        offset, records = 12, []
        while offset + RECORD.size < len(self.session_bytes):
            length, _, kind = RECORD.unpack_from(self.session_bytes, offset)
            records.append((kind, self.session_bytes[offset + RECORD.size : offset + RECORD.size + length]))
            offset += RECORD.size + length
        return records

    def configs(self, rng: random.Random) -> None:
        text = self.config_text
        path = self.world_folder / CONFIG_FILE
        if rng.random() < 0.7:
            path.write_bytes(as_json(mutated(json.loads(text), rng)))
        else:
            path.write_bytes(mutated_text(text, rng))
        try:
            load_config(self.world_folder).decode_order()
            load_sampler(self.world_folder)
            load_world_model(self.world_folder)
        finally:
            path.write_text(text)

    def lines(self, rng: random.Random) -> None:
        path = self.folder / "case.jsonl"
        good = [vpt_line(dx=1.5, keys=["key.keyboard.w"], buttons=[0], hotbar=index % 9) for index in range(6)]
        if rng.random() < 0.7:
            path.write_bytes(b"\n".join(as_json(line) for line in mutated(good, rng)) + b"\n")
        else:
            path.write_bytes(mutated_text("".join(json.dumps(line) + "\n" for line in good), rng))
        tell(lambda: read_actions(path), *(lambda rules=rules: read_recording(path, rules) for rules in RULES))

    def mineworld(self, rng: random.Random) -> None:
        """Its lines of actions: MineRL's dictionaries, as JSON or as Python writes them, or a list of them."""
        path = self.folder / "case.txt"
        plain = dict.fromkeys(BUTTONS, 0)
        good: list[Any] = [{**plain, "forward": index % 2, "camera": [0.5, -index]} for index in range(4)]
        write: Callable[[Any], str] = rng.choice((repr, json.dumps))
        changed = mutated(good, rng) if rng.random() < 0.6 else good
        text = write(changed) if rng.random() < 0.3 else "".join(f"{write(line)}\n" for line in changed)
        path.write_bytes(mutated_text(text, rng) if changed is good else text.encode("utf-8", "surrogatepass"))
        read_action_lines(path)

    def yamls(self, rng: random.Random) -> None:
        """MineWorld's configuration of a model, and that of its image tokenizer."""
        path = self.folder / "case.yaml"
        if rng.random() < 0.5:
            lines = self.yaml.splitlines(keepends=True)
            if rng.random() < 0.5:
                at = rng.randrange(len(lines))
                lines[at] = lines[at].partition(":")[0] + ": " + rng.choice(YAML_VALUES) + "\n"
            text = "".join(lines)
            path.write_bytes(mutated_text(text, rng) if rng.random() < 0.7 else text.encode())
            yaml_sizes(path)
            return
        good = json.loads(self.vq)
        path.write_bytes(as_json(mutated(good, rng)) if rng.random() < 0.6 else mutated_text(self.vq, rng))
        image_config(self.vq_state, path, Reading(height=HEIGHT, width=WIDTH), "case")

    def indexes(self, rng: random.Random) -> None:
        """VPT's index files."""
        path, good = self.folder / "case.json", {"basedir": "data", "relpaths": ["a/b.mp4", "c.mp4", "d/e/f.mp4"]}
        path.write_bytes(as_json(mutated(good, rng)) if rng.random() < 0.6 else mutated_text(json.dumps(good), rng))
        for file, name in find_recordings(path):
            assert file.is_relative_to(self.folder / read_json(path)["basedir"]), file
            assert "/" not in name, name

    def pictures(self, rng: random.Random) -> None:
        path = self.folder / "case.picture"
        path.write_bytes(mutated_bytes(rng.choice(self.good_pictures), rng))
        assert load_picture(path, PICTURE).shape == (*PICTURE, 3)

    def videos(self, rng: random.Random) -> None:
        path = self.folder / "case.mp4"
        path.write_bytes(mutated_bytes(self.video, rng))
        video = open_video(path)
        fit = fit_to(video, *PICTURE)
        for picture in shown_at(video, range(min(video.ticks, LOOKED_AT))):
            assert picture is None or fitted(picture, video, fit, *PICTURE).shape == (*PICTURE, 3)

    def messages(self, rng: random.Random) -> None:
        """A page's to `worldmodel serve`, and what becomes of its keys and mouse."""
        controls = Controls()
        good = rng.choice(MESSAGES)
        text = json.dumps(mutated(good, rng)) if rng.random() < 0.7 else mutated_text(json.dumps(good), rng)
        message = read_message(text if isinstance(text, str) else text.decode("utf-8", "replace"), self.codes)
        for event in message.events if isinstance(message, Input) else ():
            controls.handle(event)
        controls.take()

    def bindings(self, rng: random.Random) -> None:
        path = self.folder / "case.json"
        good = {"jump": "Space", "drop": ["G", "Mouse 4"], "forward": ["W", "Up"]}
        path.write_bytes(as_json(mutated(good, rng)) if rng.random() < 0.6 else mutated_text(json.dumps(good), rng))
        read_bindings(path)

    def starts(self, rng: random.Random) -> None:
        if rng.random() < 0.5:
            path = self.world_folder / STARTS_FILE
            path.write_bytes(mutated_bytes(self.starts_file[: rng.choice((200, 10**9))], rng))
            load_starts(self.world_folder, self.config)
            return
        path, good = self.folder / "starts.json", [["val.clip_0", 120], ["val.clip_1", 7]]
        path.write_bytes(as_json(mutated(good, rng)) if rng.random() < 0.6 else mutated_text(json.dumps(good), rng))
        read_starts(path)


YAML_VALUES = (
    "&a [*a]", "[[[[[[]]]]]]", "1e999", ".nan", "!!python/object/apply:os.getcwd []", "!!binary x", "2001-99-99", "0x_",
    "{? [1] : 2}", "<<", "1:59:59:59:59.5", "1" + ":59" * 400 + ".5", "'", "|", "9" * 5000, "no", "-1", "0",
)  # fmt: skip
_EVENTS = [["down", "KeyW"], ["move", 3, -2.5], ["wheel", 1], ["up", "KeyW"], ["down", "Mouse0"], ["away"]]
MESSAGES: list[dict[str, Any]] = [
    {"kind": "hello", "version": 1, "player": "0" * 32, "pixels": False},
    {"kind": "input", "time": 12.5, "events": _EVENTS},
    {"kind": "shown", "number": 3},
    *({"kind": "do", "what": what, "value": 1} for what in COMMANDS),
]
KINDS: dict[str, Callable[[Material, random.Random], None]] = {
    "sessions": Material.sessions,
    "configs": Material.configs,
    "lines": Material.lines,
    "bindings": Material.bindings,
    "starts": Material.starts,
    "mineworld": Material.mineworld,
    "yamls": Material.yamls,
    "indexes": Material.indexes,
    "pictures": Material.pictures,
    "videos": Material.videos,
    "messages": Material.messages,
}
SHARES = {name: {"sessions": 30, "configs": 3, "lines": 3}.get(name, 1) for name in KINDS}  # of the cases


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def tell(*uses: Callable[[], object]) -> None:
    """All of them; what is refused last is told."""
    refused = None
    for use in uses:
        try:
            use()
        except WorldModelError as error:
            refused = error
    if refused is not None:
        raise refused


def _pictures() -> list[bytes]:
    """A file of each format."""
    ramp = np.linspace(0, 255, 64 * 96 * 3).astype(np.uint8).reshape(64, 96, 3)
    files = []
    for kind in FORMATS:
        file = io.BytesIO()
        Image.fromarray(ramp).save(file, kind)
        files.append(file.getvalue())
    return files
