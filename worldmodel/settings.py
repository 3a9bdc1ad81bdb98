"""A sampler's settings as a command line gives them: what is wrong is said by the option's name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from kernels.sampling import Sampler, given_settings
from worldmodel.checks import ConfigError


def option_of(field: str) -> str:
    """A field's name -> the option that is typed for it."""
    return f"--{field.replace('_', '-')}"


def given_sampler(options: object, usual: Sampler | None = None) -> Sampler:
    """`usual` (or a Sampler as it is), with what `options` gives instead. ConfigError names every option that is out of
    its range."""
    given = given_settings(options)
    check_settings((option_of(name), name, value) for name, value in given.items())
    return replace(usual or Sampler(), **given)


def check_settings(given: Iterable[tuple[str, str, Any]]) -> None:
    """ConfigError for those of (option, field of Sampler, value) that are out of range."""
    problems = []
    for option, name, value in given:
        try:
            Sampler(**{name: value})
        except ValueError as error:
            problems.append(option + str(error).removeprefix(name))
    if problems:
        raise ConfigError("; ".join(problems))
