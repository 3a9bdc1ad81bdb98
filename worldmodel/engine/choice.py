"""Which engine runs a model here: the one place that picks devices and engines and puts them together."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch

from worldmodel.engine.decoder import FrameDecoder, InputTables
from worldmodel.engine.eager import EagerBackend
from worldmodel.model.loading import WorldModel
from worldmodel.tokenizers.image import ImageTokenizer, to_frames
from worldmodel.types import Frame, Tokens, WorldModelError

ENGINES = ("auto", "openvino", "eager")
# OpenVINO holds the weights once for every compiled pass width: beyond this, eager PyTorch is the default on a CPU.
OPENVINO_PARAMETERS = 100_000_000


@dataclass(frozen=True, slots=True)
class NeuralOptions:
    """engine: "auto" takes the fastest that works here; threads: 0 is all cores."""

    engine: str = "auto"
    device: str = "auto"
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Engine:
    """A model made ready to play. pixels: tokens (places,) -> frame."""

    name: str
    decoder: FrameDecoder
    pixels: Callable[[Tokens], Frame]


def pick_device(name: str) -> torch.device:
    """ "auto", "cuda", "mps" or "cpu" -> a device that is there. WorldModelError if the asked one is not."""
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device("cuda" if have["cuda"] else "cpu")
    if name not in have:
        raise WorldModelError(f"unknown device {name!r}; known are auto, {', '.join(have)}")
    if not have[name]:
        raise WorldModelError(f"no {name} device here; use --device cpu (or auto)")
    return torch.device(name)


def pick_engine(wanted: str, device: torch.device, parameters: int) -> str:
    """The engine that `wanted` ("auto" or a name) means on this device, for a transformer of so many parameters.

    WorldModelError if it does not run here.
    """
    if wanted not in ENGINES:
        raise WorldModelError(f"unknown engine {wanted!r}; known are {', '.join(ENGINES)}")
    if wanted == "auto":
        small = parameters <= OPENVINO_PARAMETERS
        return "openvino" if device.type == "cpu" and has_openvino() and small else "eager"
    if wanted == "openvino":
        if device.type != "cpu":
            raise WorldModelError(f"the openvino engine runs on the cpu, not on {device}; use --device cpu")
        if not has_openvino():
            raise WorldModelError("openvino is not installed: pip install openvino, or use --engine eager")
    return wanted


def build_engine(model: WorldModel, wanted: str, device: torch.device, threads: int = 0) -> Engine:
    """Makes the model ready to play. It is moved to the device. threads: 0 is all cores."""
    threads = threads or os.cpu_count() or 1
    name = pick_engine(wanted, device, sum(p.numel() for p in model.transformer.parameters()))
    tables = InputTables.of(model.transformer)
    if name == "openvino":
        from worldmodel.engine.openvino import OpenVinoBackend

        backend = OpenVinoBackend(model.transformer, threads)
        return Engine(name, FrameDecoder(model.config, tables, backend), pixel_decoder(model.tokenizer, threads))
    if device.type == "cpu":
        torch.set_num_threads(threads)
    model.transformer.to(device)
    decoder = FrameDecoder(model.config, tables, EagerBackend(model.transformer))
    return Engine(name, decoder, eager_pixels(model.tokenizer.to(device)))


def eager_pixels(tokenizer: ImageTokenizer) -> Callable[[Tokens], Frame]:
    """tokens (places,) -> frame, by the module itself, on its device."""
    device = next(tokenizer.parameters()).device

    @torch.inference_mode()
    def pixels(tokens: Tokens) -> Frame:
        codes = torch.from_numpy(tokens.astype(np.int64))[None].to(device)
        return to_frames(tokenizer.decode(codes))[0].cpu().numpy()

    return pixels


def pixel_decoder(tokenizer: ImageTokenizer, threads: int = 0) -> Callable[[Tokens], Frame]:
    """tokens (places,) -> frame, the fastest way that works on this CPU."""
    if not has_openvino():
        return eager_pixels(tokenizer)
    from worldmodel.engine.openvino import OpenVinoDecoder

    return OpenVinoDecoder(tokenizer, threads)


def has_openvino() -> bool:
    return find_spec("openvino") is not None
