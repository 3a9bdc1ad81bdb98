"""The options that many commands share, each declared once: how tokens are drawn, what runs the model. What is wrong is
said by the option's name. Nothing slow is imported here: a command line is read before PyTorch is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from tyro.conf import OmitArgPrefixes

from kernels.sampling import Sampler
from worldmodel.checks import ConfigError
from worldmodel.types import WorldModelError

EngineName = Literal["auto", "cuda", "native", "openvino", "eager"]
Device = Literal["auto", "cuda", "mps", "cpu"]
Preset = Literal["nano", "mineworld-300m", "mineworld-700m", "mineworld-1200m"]  # of worldmodel.config.PRESETS


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How tokens are drawn; what is not given is the model's own."""

    temperature: float | None = None
    """Sampling temperature; 0 always takes the likeliest token. Default: the model's."""
    top_p: float | None = None
    """Sample among the likeliest tokens that together have this probability, 0 to 1. Default: the model's."""
    top_k: int | None = None
    """Sample among this many likeliest tokens; 0 is all. Default: the model's."""
    guidance: float | None = None
    """Follow keys and mouse more than the model does by itself: 0 is off, 1 strong. Such frames take longer. Default:
    the model's."""

    def given(self) -> dict[str, Any]:
        """Those that are given, by their names."""
        found = {own.name: getattr(self, own.name) for own in fields(self)}
        return {name: value for name, value in found.items() if value is not None}

    def over(self, usual: Sampler | None = None) -> Sampler:
        """`usual` (or a Sampler as it is), with what is given instead. ConfigError names all that is out of range."""
        check_settings((option_of(name), name, value) for name, value in self.given().items())
        return replace(usual or Sampler(), **self.given())


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What runs the model, and where."""

    engine: EngineName = "auto"
    """What runs the model; auto takes the fastest that works here."""
    device: Device = "auto"
    """Where the model runs."""
    threads: int = 0
    """CPU threads for the model; 0 is all cores."""
    kernels: str = "auto"
    """For --engine cuda: "library", or which of our kernels, with commas between. auto: all that fit the model."""
    weights: Literal["auto", "int8", "fp8"] = "auto"
    """For --engine cuda: 8-bit weights instead of bf16."""
    kv_cache: Literal["auto", "int8"] = "auto"
    """For --engine cuda: the keys and values of the context in 8 bits instead of 16."""

    def given(self) -> list[str]:
        """The options that are not as usual."""
        return [option_of(own.name) for own in fields(self) if getattr(self, own.name) != own.default]

    def problems(self) -> list[str]:
        """What is wrong with them, whatever the machine."""
        return [f"--threads must be 0 (all cores) or more, got {self.threads}"] if self.threads < 0 else []


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is measured."""

    preset: Preset = "nano"
    """A model's size, with random weights."""
    checkpoint: Path | None = None
    """Measure this checkpoint's folder instead."""
    order: str = ""
    """Another decode order than the model's: "raster", "rows" or "diagonal-K"."""
    frames: int = 100
    """How many frames are measured, after the context has been replaced three times."""
    baseline: bool = False
    """Measure a plain path like the released MineWorld code's as well, in turns, and give the ratio."""
    engine: OmitArgPrefixes[EngineOptions] = field(default_factory=EngineOptions)


def option_of(name: str) -> str:
    """A field's name -> the option that is typed for it."""
    return f"--{name.replace('_', '-')}"


def check_least(least: int, **given: int) -> None:
    """WorldModelError for an option, by its field's name, whose value is below `least`."""
    for name, value in given.items():
        if value < least:
            raise WorldModelError(f"{option_of(name)} must be at least {least}, got {value}")


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
