"""Types and ranges of a configuration's fields, said once beside each field and checked wherever one is made.

    layers: Annotated[int, Within(1, 256)] = 8

`check_fields` in `__post_init__` refuses what does not fit, in one sentence with the field's name, its range and the
value: before memory is taken or time is spent. It knows dataclasses; nothing of models.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from worldmodel.parsing import is_number, quoted
from worldmodel.types import WorldModelError

MAX_TEXT = 200  # characters
MAX_WHOLE = 2**63 - 1


class ConfigError(WorldModelError, ValueError):
    """A field of a wrong type, out of its range, or at odds with another."""


@dataclass(frozen=True, slots=True)
class Within:
    """A number in low..high, both included; each of them in a tuple of numbers."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these texts."""

    known: tuple[str, ...]


SHARE = Within(0, 1)


def check_fields(config: Any) -> None:
    """ConfigError for the first field of a dataclass that is of a wrong type or out of its range."""
    for name, hint in field_types(type(config)).items():
        check_value(name, getattr(config, name), hint)


@cache
def field_types(cls: type) -> Mapping[str, Any]:
    """The fields of a dataclass and their types, with what is annotated."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def check_value(name: str, value: Any, hint: Any) -> None:
    """ConfigError if the value is not of the type, which may be annotated."""
    rules: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *found = get_args(hint)
        rules = tuple(found)
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in parts:
            return
        hint = next(part for part in parts if part is not type(None))
        origin, parts = get_origin(hint), get_args(hint)
    if origin is tuple:
        _check_tuple(name, value, parts, rules)
    else:
        _check_type(name, value, hint)
        _check_rules(name, value, rules)


def _check_tuple(name: str, value: Any, parts: tuple[Any, ...], rules: tuple[Any, ...]) -> None:
    some = len(parts) == 2 and parts[1] is Ellipsis
    if not isinstance(value, tuple) or (not some and len(value) != len(parts)):
        wanted = "a list" if some else f"a list of {len(parts)}"
        raise ConfigError(f"{name} must be {wanted}, got {quoted(value)}")
    for item, kind in zip(value, parts[:1] * len(value) if some else parts, strict=True):
        check_value(name, item, kind)
        _check_rules(name, item, rules)


def _check_type(name: str, value: Any, kind: Any) -> None:
    if kind is float:
        if not is_number(value) or abs(value) > MAX_WHOLE or not math.isfinite(value):
            raise ConfigError(f"{name} must be a finite number, got {quoted(value)}")
    elif kind is int:
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_WHOLE:
            raise ConfigError(f"{name} must be a whole number, got {quoted(value)}")
    elif kind is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{name} must be true or false, got {quoted(value)}")
    elif kind is str and not (isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable()):
        raise ConfigError(f"{name} must be a short text, got {quoted(value)}")


def _check_rules(name: str, value: Any, rules: tuple[Any, ...]) -> None:
    for rule in rules:
        if isinstance(rule, Within) and not rule.low <= value <= rule.high:
            raise ConfigError(f"{name} must lie in {rule.low:g}..{rule.high:g}, got {quoted(value)}")
        if isinstance(rule, OneOf) and value not in rule.known:
            known = " or ".join(f'"{text}"' for text in rule.known)
            raise ConfigError(f"{name} must be {known}, got {quoted(value)}")
