"""What is served: who may play which world, from which keys, and the page's folder; for one server or many."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.checks import world_problems
from client.options import Serve
from client.play.bindings import DEFAULT_BINDINGS, read_bindings, table_of
from client.serve.guard import EVERY_ADDRESS, is_loopback
from client.web.folder import PAGE, listed
from client.web.keys import SERVED, page_codes, page_commands, page_help, page_keys
from worldmodel.games import LISTED, PLAYED_FRAME, game_of, make_game
from worldmodel.types import World, WorldModelError

if TYPE_CHECKING:
    from client.serve.connection import Site
    from client.serve.files import Opener
    from client.serve.room import Rules
    from worldmodel.worlds.neural import NeuralWorld

MOST_PLAYERS = 64
PACKAGES = ("starlette", "uvicorn", "websockets")


def bindings_of(options: Serve) -> Mapping[str, str]:
    return read_bindings(options.bindings) if options.bindings else table_of(DEFAULT_BINDINGS)


def rules_of(options: Serve, table: Mapping[str, str], folder: Path) -> Rules:
    """folder: where games are recorded unless --record says where. WorldModelError if nothing can be written there."""
    from client.serve.room import Rules

    games = options.record or folder
    _make(games)
    return Rules(table, games, options.record is not None, options.start, options.seed)


def link(host: str, port: int, token: str) -> str:
    """What a player opens."""
    shown = socket.gethostname() if host in EVERY_ADDRESS else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/?token={token}"


def announce(host: str, port: int, token: str) -> None:
    """Prints the link, and says what a link for other machines means."""
    print(f"play at {link(host, port, token)}", flush=True)
    if not is_loopback(host):
        print("anyone who has the link can play; what is sent is not encrypted", file=sys.stderr)


def check(options: Serve) -> None:
    """WorldModelError for options that cannot be meant."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise WorldModelError(f"worldmodel serve needs more packages: pip install {' '.join(missing)}")
    if not 1 <= options.players <= MOST_PLAYERS:
        raise WorldModelError(f"--players must lie in 1..{MOST_PLAYERS}, got {options.players}")
    if not 0 <= options.port < 2**16:
        raise WorldModelError(f"--port must lie in 0..65535, got {options.port}")
    if not 0 <= options.seed < 2**63:
        raise WorldModelError(f"--seed must lie in 0..2^63-1, got {options.seed}")
    given = {"--start": options.start != 0, "--record": options.record is not None}
    if problems := world_problems(options, [flag for flag, is_given in given.items() if is_given]):
        raise WorldModelError("; ".join(problems))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise WorldModelError(f"cannot record in {folder} ({error.strerror})") from None


def prepare(options: Serve, table: Mapping[str, str], folder: Path) -> tuple[list[Callable[[], World]], Site]:
    """A seat for each player, and the page in `folder`. WorldModelError for a world that is not there."""
    from client.serve.connection import Site

    shutil.copytree(PAGE, folder)
    described: dict[str, Any] = {
        "name": options.world,
        "keys": page_keys(table),
        "commands": page_commands(SERVED),
        "help": page_help(SERVED, table),
        "files": {},
    }
    codes = page_codes(table)
    if game_of(options.world) is not None:
        make_game(options.world, PLAYED_FRAME).close()  # is it installed? Later, only its players would be told
        seats = [lambda: make_game(options.world, PLAYED_FRAME)] * options.players
        return seats, Site(described, codes, None, folder, None)
    print("loading the world", file=sys.stderr)
    from worldmodel.model.loading import load_sampler
    from worldmodel.worlds.neural import NeuralWorld, find_checkpoint

    checkpoint = find_checkpoint(options.world, LISTED)
    world = NeuralWorld(checkpoint, options.engine, options.sampling.over(load_sampler(checkpoint))).load()
    if not world.starts:
        raise WorldModelError(f"{checkpoint} has no start scenes: a player has nothing to begin with")
    if not 0 <= options.start < world.starts:
        raise WorldModelError(
            f"there is no start scene {options.start}: {world.name} has {world.starts}, numbered from 0"
        )
    for notice in world.notices:
        print(notice, file=sys.stderr)
    described |= {"name": world.name, "size": list(world.frame_shape)}
    described["places"] = world.model.config.image_tokenizer.tokens_per_frame
    bits = _page_decoder(world, folder, described)
    sampler = world.sampler

    def seat(lane: NeuralWorld) -> Callable[[], World]:
        def taken() -> World:
            lane.sampler = sampler  # whatever its last player changed
            return lane

        return taken

    seats = [seat(lane) for lane in world.lanes(options.players)]
    return seats, Site(described, codes, bits, folder, opener_of(checkpoint, options.engine.threads))


def _page_decoder(world: NeuralWorld, folder: Path, described: dict[str, Any]) -> int | None:
    """Puts the image decoder's weights beside the page, for it to make pictures of tokens; the bits of a token. None
    where the page gets pictures, and why is said."""
    from worldmodel.web.description import describe_pictures
    from worldmodel.web.stored import MODULE, module_file, pictures_file

    try:
        described["pictures"] = describe_pictures(world.model.tokenizer)
        files = {"pictures.safetensors": pictures_file(world.model.tokenizer, 8), MODULE: module_file()}
    except WorldModelError as error:
        print(f"frames are sent as JPEGs, not as tokens: {error}", file=sys.stderr)
        return None
    for name, data in files.items():
        (folder / name).write_bytes(data)
    described["files"] = {name: listed(data) for name, data in files.items()}
    return max(1, (world.model.config.image_tokenizer.codebook_size - 1).bit_length())


def opener_of(checkpoint: Path, threads: int) -> Opener:
    """Recordings of this world, and of those that share its image tokenizer."""
    from client.sessions.playback import Playback, ReplayWorld, usable
    from client.sessions.timeline import Timeline, timeline_of
    from recordings.reader import read_session
    from worldmodel.model.loading import load_tokenizer

    def opened(file: Path) -> tuple[Callable[[], Playback], Timeline]:
        session = read_session(file)
        session = usable(session, file, load_tokenizer(checkpoint, session.header.tokenizer).config)
        return lambda: ReplayWorld(session, checkpoint, threads), timeline_of(session)

    return opened
