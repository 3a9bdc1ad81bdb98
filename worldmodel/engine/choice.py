"""Which engine runs a model here: the one place that picks devices and engines and puts them together."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from kernels.launch import CupyLauncher, has_cupy
from worldmodel.config import WorldModelConfig
from worldmodel.engine.cuda.frame_step import FrameStep
from worldmodel.engine.cuda.graph import GraphDecoder
from worldmodel.engine.cuda.kernel_ops import KernelOps, usable
from worldmodel.engine.cuda.ops import LibraryOps
from worldmodel.engine.decoder import Decoder, FrameDecoder, InputTables
from worldmodel.engine.forks import forked
from worldmodel.engine.host.eager import EagerBackend
from worldmodel.engine.host.eager_sequences import EagerSequences
from worldmodel.engine.host.native import (
    NativeDecoder,
    NativeLanes,
    compile_problem,
    default_threads,
    native_problem,
    path_notices,
)
from worldmodel.engine.host.native_pictures import NativePainter
from worldmodel.engine.host.native_sequences import NativeSequences
from worldmodel.engine.lanes import Gather, LaneDecoder, Lanes, Turns
from worldmodel.engine.memory import check_memory, memory_problem
from worldmodel.engine.released import ReleasedDecoder, Sequences
from worldmodel.model.loading import WorldModel
from worldmodel.settings import EngineOptions
from worldmodel.tokenizers.image import ImageTokenizer, to_frames
from worldmodel.types import Frame, Tokens, WorldModelError

WEIGHTS = ("auto", "int8", "fp8")
KV_CACHES = ("auto", "int8")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")  # there is a GPU, whether PyTorch can use it or not
FOR_CUDA = {"weights": "are", "cache": "is"}
NO_CUPY = "our kernels need CuPy: pip install cupy-cuda13x"
ENGINES = ("auto", "cuda", "native", "openvino", "eager")
RELEASED_ENGINES = ("auto", "native", "eager")  # for weights in a released order
# OpenVINO holds the weights once for every compiled pass width: beyond this, it is not taken without being asked for.
SMALL_PARAMETERS = 100_000_000
COMPILE_SECONDS = 20.0  # that play waits at most for the native engine, once


@dataclass(frozen=True, slots=True)
class Engine:
    """A model made ready to play. name: as --engine takes it, with the weights' format if it is not the engine's own
    (see engine_name); pixels: tokens (places,) -> frame; notices: what the user should know of it."""

    name: str
    decoder: Decoder
    pixels: Callable[[Tokens], Frame]
    notices: tuple[str, ...] = ()


def pick_device(name: str) -> torch.device:
    """ "auto", "cuda", "mps" or "cpu" -> a device that is there. WorldModelError if the asked one is not."""
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device("cuda" if have["cuda"] else "cpu")
    if name not in have:
        raise WorldModelError(f"unknown device {name!r}; known are auto, {', '.join(have)}")
    if not have[name]:
        raise WorldModelError(f"no {name} device here{_why_no_cuda() if name == 'cuda' else ''}; use --device cpu")
    return torch.device(name)


def choose_device(
    config: WorldModelConfig, parameters: int, options: EngineOptions
) -> tuple[torch.device, tuple[str, ...]]:
    """Where a model is to run, and what the user should know of it: "auto" plays on the CPU where a GPU will not do.

    parameters: of the transformer. WorldModelError if the asked device, engine or format is not there, or if the model
    does not fit; nothing is loaded before.
    """
    device, notices = pick_device(options.device), ()
    if options.device == "auto" and options.engine != "cuda":
        problem = memory_problem(config, device, "cuda", parameters) if device.type == "cuda" else ""
        if device.type == "cpu" and NVIDIA_DRIVER.exists():
            problem = f"the NVIDIA GPU cannot be used{_why_no_cuda()}"
        if problem:
            device, notices = torch.device("cpu"), (f"{problem}; the CPU plays",)
    engine = pick_engine(options.engine, device, config, parameters)
    check_formats(options.weights, options.kv_cache, engine)
    check_memory(config, device, engine, parameters)
    return device, notices


def _why_no_cuda() -> str:
    if torch.version.cuda is None:
        return f" (this PyTorch, {torch.__version__}, is built without CUDA)"
    return f" (there is none, or its driver is too old for CUDA {torch.version.cuda})"


def pick_engine(wanted: str, device: torch.device, config: WorldModelConfig, parameters: int) -> str:
    """The engine that `wanted` ("auto" or a name) means on this device, for a transformer of so many parameters.

    WorldModelError if it does not run here. The first call that may mean the native engine compiles it.
    """
    if wanted not in ENGINES:
        raise WorldModelError(f"unknown engine {wanted!r}; known are {', '.join(ENGINES)}")
    released = config.decode_order().released
    if released and wanted not in RELEASED_ENGINES:
        known = " or ".join(RELEASED_ENGINES[1:])
        raise WorldModelError(f"weights in the order {config.order!r} are decoded by --engine {known}, not {wanted}")
    if wanted == "auto" and device.type == "cuda":
        return "eager" if released else "cuda"
    if wanted == "auto":
        if device.type == "cpu" and not native_problem(config, COMPILE_SECONDS):
            return "native"
        small = device.type == "cpu" and parameters <= SMALL_PARAMETERS
        return "openvino" if small and not released and has_openvino() else "eager"
    if wanted == "cuda" and device.type != "cuda":
        raise WorldModelError(f"the cuda engine runs on a CUDA device, not on {device}; use --engine auto")
    if wanted in ("native", "openvino") and device.type != "cpu":
        raise WorldModelError(f"the {wanted} engine runs on the cpu, not on {device}; use --device cpu")
    if wanted == "native" and (problem := native_problem(config)):
        others = "eager" if released else "openvino or eager"
        raise WorldModelError(f"the native engine cannot be had: {problem}; use --engine {others}")
    if wanted == "openvino" and not has_openvino():
        raise WorldModelError("openvino is not installed: pip install openvino, or use --engine eager")
    return wanted


def cuda_ops(model: WorldModel, dtype: torch.dtype, kernels: str = "auto") -> LibraryOps:
    """The operations of the cuda engine. kernels: "auto" (ours, where CuPy is installed and they fit the model),
    "library" (none of ours), or names of ours with commas between. WorldModelError if they cannot run."""
    fitting = usable(model.config, dtype)
    wanted = fitting if kernels == "auto" else () if kernels == "library" else tuple(kernels.split(","))
    unfit = sorted(set(wanted) - set(fitting))
    if unfit:
        raise WorldModelError(f"no kernel {', '.join(unfit)} for this model; there are {', '.join(fitting)}")
    if not wanted or (kernels == "auto" and not has_cupy()):
        return LibraryOps()
    if not has_cupy():
        raise WorldModelError(f"{NO_CUPY}, or use --kernels library")
    return KernelOps(CupyLauncher(), wanted)


def check_formats(weights: str, kv_cache: str, engine: str) -> None:
    """WorldModelError if the engine has no such weights or no such cache."""
    for what, wanted, known in (("weights", weights, WEIGHTS), ("cache", kv_cache, KV_CACHES)):
        if wanted not in known:
            raise WorldModelError(f"unknown {what} {wanted!r}; known are {', '.join(known)}")
        if wanted != "auto" and engine != "cuda":
            raise WorldModelError(f"{wanted} {what} {FOR_CUDA[what]} for the cuda engine, not for {engine}")


def engine_name(engine: str, weights: str, kv_cache: str) -> str:
    """What a recording says: "cuda", "cuda-int8", "cuda-fp8-kv-int8": other formats make other tokens."""
    return engine + (f"-{weights}" if weights != "auto" else "") + (f"-kv-{kv_cache}" if kv_cache != "auto" else "")


def engine_flags(name: str) -> str:
    """The flags that choose the engine of that name again."""
    name, _, kv_cache = name.partition("-kv-")
    engine, _, weights = name.partition("-")
    flags = {"--engine": engine, "--weights": weights, "--kv-cache": kv_cache}
    return " ".join(f"{flag} {value}" for flag, value in flags.items() if value)


def build_engine(model: WorldModel, device: torch.device, options: EngineOptions, guided: bool = True) -> Engine:
    """Moves the model to the device and makes it ready to play. guided: whether frames may be guided, for a little more
    cache. WorldModelError for what cannot run there."""
    wanted, threads = options.engine, options.threads or os.cpu_count() or 1
    parameters = sum(p.numel() for p in model.transformer.parameters())
    name = pick_engine(wanted, device, model.config, parameters)
    check_formats(options.weights, options.kv_cache, name)
    if name == "cuda":
        transformer = model.transformer.to(device, torch.bfloat16)
        ops = cuda_ops(model, torch.bfloat16, options.kernels)
        bits8 = "" if options.weights == "auto" else options.weights
        tokenizer, cache8 = model.tokenizer.to(device), options.kv_cache == "int8"
        step = FrameStep(transformer, tokenizer, ops, bits8, cache8, guided)
        decoder = GraphDecoder(step, strict=wanted == "cuda")
        notices = () if ops.use or options.kernels == "library" else (f"{NO_CUPY}; the library's operations play",)
        return Engine(engine_name(name, options.weights, options.kv_cache), decoder, decoder.pixels, notices)
    released = model.config.decode_order().released
    if name == "native":
        if released:
            [decoder] = _released_decoders(model, device, name, options, 1)
        else:
            decoder = NativeDecoder(model.transformer, options.threads or default_threads(), guided)
        return Engine(name, decoder, painter_of(model.tokenizer, threads), path_notices())
    notices = ()
    if wanted == "auto" and device.type == "cpu":
        problem = native_problem(model.config, COMPILE_SECONDS)
        notices = (f"the native engine cannot be had: {problem}; {name} plays",)
    if name == "openvino":
        from worldmodel.engine.host.openvino import OpenVinoBackend

        backend = OpenVinoBackend(model.transformer, threads, guided, int8=True)
        pixels = painter_of(model.tokenizer, threads)
        return Engine(name, FrameDecoder(model.config, InputTables.of(model.transformer), backend), pixels, notices)
    if device.type == "cpu" and not forked():
        torch.set_num_threads(threads)
    if released:
        [decoder] = _released_decoders(model, device, name, options, 1)
    else:
        tables = InputTables.of(model.transformer)
        decoder = FrameDecoder(model.config, tables, EagerBackend(model.transformer.to(device), guided))
    return Engine(name, decoder, eager_pixels(model.tokenizer.to(device)), notices)


def _released_decoders(
    model: WorldModel, device: torch.device, name: str, options: EngineOptions, players: int
) -> list[ReleasedDecoder]:
    """Of weights in a released order, for so many players. name: of the engine."""
    if name == "native":
        backend: Sequences = NativeSequences(model.transformer, players, options.threads)
    else:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        backend = EagerSequences(model.transformer.to(device, dtype), players)
    return [ReleasedDecoder(model.config, backend, player) for player in range(players)]


def build_lanes(model: WorldModel, device: torch.device, options: EngineOptions, count: int) -> list[Engine]:
    """Engines of one model for `count` players, a thread each: the frames that are wanted at the same time are made
    together where the engine can, one after the other elsewhere. WorldModelError as build_engine."""
    first = build_engine(model, device, options)
    if model.config.decode_order().released:
        engines = [first] * count
        lanes: Lanes = Turns(_released_decoders(model, device, first.name, options, count))
    elif first.name == "native":
        engines = [first] * count
        lanes = NativeLanes(model.transformer, count, options.threads or default_threads())
    else:
        engines = [first, *(build_engine(model, device, options) for _ in range(count - 1))]
        lanes = Turns([engine.decoder for engine in engines])
    shared = Gather(lanes)

    def pixels(engine: Engine) -> Callable[[Tokens], Frame]:
        def paint(tokens: Tokens) -> Frame:
            with shared.alone():  # a painter is for one at a time, and wants the cores that frames are made on
                return engine.pixels(tokens)

        return paint

    return [
        replace(engine, decoder=LaneDecoder(shared, lane), pixels=pixels(engine)) for lane, engine in enumerate(engines)
    ]


def eager_pixels(tokenizer: ImageTokenizer) -> Callable[[Tokens], Frame]:
    """tokens (places,) -> frame, by the module itself, on its device."""
    device = next(tokenizer.parameters()).device

    @torch.inference_mode()
    def pixels(tokens: Tokens) -> Frame:
        codes = torch.from_numpy(tokens.astype(np.int64))[None].to(device)
        return to_frames(tokenizer.decode(codes))[0].cpu().numpy()

    return pixels


def painter_of(tokenizer: ImageTokenizer, threads: int = 0) -> Callable[[Tokens], Frame]:
    """tokens (places,) -> frame, the fastest way that works on this CPU now: what has to be compiled first is compiled
    beside it, for another time."""
    if tokenizer.config.pyramid:
        return eager_pixels(tokenizer)
    if not compile_problem(0.0):
        return NativePainter(tokenizer, threads)
    if not has_openvino():
        return eager_pixels(tokenizer)
    from worldmodel.engine.host.openvino import OpenVinoPainter

    return OpenVinoPainter(tokenizer, threads)


def has_openvino() -> bool:
    return find_spec("openvino") is not None
