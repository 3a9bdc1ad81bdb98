"""The commands that make and measure worlds: `worldmodel train ...`, `evaluate`, `sweep`, `record`.

Each is a module with its options (`Arguments`) and what it does with them (`main`), imported when it is asked for: they
need torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, make_dataclass
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any, Union

from worldmodel.training.run.stopping import require_extra
from worldmodel.training.run.stopping import say_stopped as stopped  # noqa: F401


@dataclass(frozen=True, slots=True)
class Door:
    """module: below this one; about: what `--help` lists; extra: whether it needs the packages for training."""

    module: str
    about: str
    extra: bool = True


DOORS = {
    "train tokenizer": Door("tokenizer", "Train an image tokenizer on clips."),
    "train world": Door("world", "Train a world model on clips and recorded sessions.", extra=False),
    "train idm": Door("idm", "Train the inverse dynamics model that reads actions from frames."),
    "prepare vpt": Door("prepare_vpt", "Turn VPT's recordings into token shards.", extra=False),
    "prepare minestudio": Door("prepare_minestudio", "Take the pictures out of MineStudio's recordings.", extra=False),
    "evaluate": Door("evaluate", "Score a world on clips: does it follow the player?"),
    "sweep": Door("sweep", "Score a small grid of sampling settings on clips."),
    "import-mineworld": Door("mineworld", "Import MineWorld's weights as a checkpoint.", extra=False),
    "record-game": Door("record_game", "Record random play of another game as clips.", extra=False),
    "record": Door("record", "Record scripted play of the real game (Luanti) as clips.", extra=False),
}
TRAIN = "Train an image tokenizer, a world, or an inverse dynamics model."
GROUPS = {"train": TRAIN, "prepare": "Turn recordings of Minecraft into what is trained on."}


def find(words: Sequence[str]) -> str | None:
    """The command that a command line begins with, if it is one of these."""
    return next((name for name in DOORS if list(words[: len(name.split())]) == name.split()), None)


def run(name: str, rest: Sequence[str]) -> int:
    """rest: what follows the command's name. Returns the exit code 0; mistakes are raised."""
    import tyro

    door = DOORS[name]
    if door.extra and not {"-h", "--help"} & set(rest):
        require_extra()
    module = import_module(f"client.making.{door.module}")
    description = (module.__doc__ or "").strip()
    default = _like_init(module, rest)
    module.main(
        tyro.cli(module.Arguments, prog=f"worldmodel {name}", description=description, args=rest, default=default)
    )
    return 0


def _like_init(module: ModuleType, rest: Sequence[str]) -> Any:
    """A command's defaults where it goes on from a checkpoint: `like` of its module says which are the checkpoint's."""
    import tyro

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--init", nargs="?")
    init = parser.parse_known_args(rest)[0].init
    if init is None or not hasattr(module, "like"):
        return tyro.MISSING_NONPROP
    from worldmodel.worlds.neural import find_checkpoint

    required = [own.name for own in fields(module.Arguments) if own.default is own.default_factory is MISSING]
    return module.Arguments(**dict.fromkeys(required, tyro.MISSING), **module.like(find_checkpoint(init)))


def listed(prefix: str = "") -> dict[str, Any]:
    """Stand-ins for a list of subcommands, below `prefix` ("train " or none): name -> a class with its sentence."""
    abouts = {name.removeprefix(prefix): door.about for name, door in DOORS.items() if name.startswith(prefix)}
    if not prefix:
        abouts = {**GROUPS, **{name: about for name, about in abouts.items() if " " not in name}}
    return {name: dataclass(type(name, (), {"__doc__": about})) for name, about in abouts.items()}


def complete() -> dict[str, Any]:
    """The same with all their options, for a shell's completion: slow."""
    import tyro

    kinds = {name: import_module(f"client.making.{door.module}").Arguments for name, door in DOORS.items()}
    groups = {}
    for group, about in GROUPS.items():
        inside = [
            Annotated[k, tyro.conf.subcommand(n.split()[1])] for n, k in kinds.items() if n.startswith(f"{group} ")
        ]
        what = tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[Union[tuple(inside)]]]  # noqa: UP007
        groups[group] = make_dataclass(group.capitalize(), [("what", what)], namespace={"__doc__": about})
    return {**groups, **{name: kind for name, kind in kinds.items() if " " not in name}}
