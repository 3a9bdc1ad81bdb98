"""How a model is made, as a list of stages: each is a script with its options, and works on what those before it left.

A recipe is a TOML file with a table a stage, in their order:

    [world]
    script = "train_world.py"
    data = ["{train}", "{deeds}"]
    steps = 6000
    compile = true

The stage's --out is a folder of its name. A text that begins with a name in braces is a path: below the folder of an
earlier stage, or below one that is given. true is --compile, false --no-compile; a list, several values of one option.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldmodel.checks import ConfigError
from worldmodel.parsing import quoted, read_text
from worldmodel.settings import option_of

SCRIPT = "script"
_PLACE = re.compile(r"\{(\w+)\}(.*)", re.DOTALL)
_OPTION = re.compile(r"[a-z]\w*")
_CHANGE = re.compile(r"(\w+)\.(\w+)=(.*)", re.DOTALL)

Value = bool | int | float | str
Folders = Mapping[str, Sequence[Path]]


@dataclass(frozen=True, slots=True)
class Stage:
    """A script and its options, by their fields' names."""

    name: str
    script: str
    options: Mapping[str, Value | list[Value]]

    @property
    def trains(self) -> bool:
        """Is it a training, which knows --stop-after-minutes, and leaves a mark when all is done?"""
        return self.script.startswith("train_")

    def needs(self) -> list[str]:
        """The names in braces."""
        return [match[1] for value in self.options.values() for part in _listed(value) if (match := _place(part))]

    def command(self, folders: Folders) -> list[str]:
        """The options as they are typed. folders: of every name in braces; one in a list may stand for several."""
        typed: list[str] = []
        for name, value in self.options.items():
            if isinstance(value, bool):
                typed.append(option_of(name if value else f"no_{name}"))
                continue
            typed.append(option_of(name))
            for part in _listed(value):
                match = _place(part)
                typed += [f"{folder}{match[2]}" for folder in folders[match[1]]] if match else [str(part)]
        return typed


def _listed(value: Value | list[Value]) -> list[Value]:
    return value if isinstance(value, list) else [value]


def _place(value: Value) -> re.Match[str] | None:
    return _PLACE.fullmatch(value) if isinstance(value, str) else None


def read_recipe(path: Path, changes: Sequence[str] = ()) -> list[Stage]:
    """The stages of a recipe. changes: STAGE.OPTION=VALUE, put in place of what the file says. ConfigError for what is
    no recipe, and for a change of a stage that it has not."""
    tables = _tables(read_text(path, ConfigError), str(path))
    for change in changes:
        match = _CHANGE.fullmatch(change)
        if match is None or match[1] not in tables or match[2] == SCRIPT:
            raise ConfigError(
                f"--change is STAGE.OPTION=VALUE, with a stage of {path} ({', '.join(tables)}), got {quoted(change)}"
            )
        tables[match[1]][match[2]] = _typed(match[3])
    return [_stage(name, table, str(path)) for name, table in tables.items()]


def _tables(text: str, where: str) -> dict[str, dict[str, Any]]:
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as problem:
        raise ConfigError(f"{where}: not TOML ({problem})") from None
    if not tables or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigError(f"{where}: a recipe has a table for each stage, such as [world], and nothing beside them")
    return tables


def _typed(text: str) -> Any:
    """A value as TOML has it; what is none is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _stage(name: str, table: Mapping[str, Any], where: str) -> Stage:
    options = {option: value for option, value in table.items() if option != SCRIPT}
    script = table.get(SCRIPT)
    if not isinstance(script, str) or Path(script).name != script:
        raise ConfigError(f"{where}: [{name}] needs the name of a script, such as train_world.py, got {quoted(script)}")
    for option, value in options.items():
        if not _OPTION.fullmatch(option) or not all(
            isinstance(part, bool | int | float | str) for part in _listed(value)
        ):
            raise ConfigError(
                f"{where}: [{name}] {option} must be a number, a text, true, false, or a list, got {quoted(value)}"
            )
    return Stage(name, script, options)


def check_names(stages: Sequence[Stage], given: Mapping[str, Sequence[Path]], where: str) -> None:
    """ConfigError for a name in braces that is neither given nor an earlier stage's."""
    known = {name for name, folders in given.items() if folders}
    for stage in stages:
        for name in stage.needs():
            if name in known:
                continue
            way_out = f"give {option_of(name)}" if name in given else "no earlier stage has that name"
            raise ConfigError(f"{where}: [{stage.name}] needs {{{name}}}: {way_out}")
        known.add(stage.name)
