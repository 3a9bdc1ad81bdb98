"""Measures an engine: frames a second, percentiles, memory, and how near it comes to the device's roofline.

Works on a preset with random weights (speed does not depend on their values) or on a checkpoint.
"""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tqdm import trange

from kernels.sampling import Sampler
from worldmodel.config import PRESETS, WorldModelConfig
from worldmodel.decode_order import parse_order
from worldmodel.engine.choice import (
    Engine,
    build_engine,
    check_formats,
    eager_pixels,
    pick_device,
    pick_engine,
)
from worldmodel.engine.cuda.graph import GraphDecoder
from worldmodel.engine.decoder import Decoder, FrameDecoder, InputTables
from worldmodel.engine.host.native import best_path, default_threads
from worldmodel.engine.host.native_pictures import NativePainter
from worldmodel.engine.memory import check_memory, count_parameters
from worldmodel.measure.baseline import BaselineBackend
from worldmodel.measure.provenance import device_name
from worldmodel.measure.random_play import ROLLS, fill_context, random_tokens, random_transformer
from worldmodel.measure.roofline import (
    measure_native_products,
    measure_roofline,
    pass_costs,
    picture_flops,
    synchronise,
)
from worldmodel.model.loading import WorldModel, load_config, load_world_model
from worldmodel.settings import BenchOptions
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import Action, WorldModelError

FILLED_PARAMETERS = 100_000_000  # models from this size on do not play those frames on a CPU: that would take an hour


def bench(options: BenchOptions, quiet: bool = False) -> dict[str, Any]:
    """All that is measured, for JSON. WorldModelError for what cannot run here, before anything is loaded."""
    config = _config(options)
    device = pick_device(options.engine.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    parameters = count_parameters(config)
    name = pick_engine(options.engine.engine, device, config, parameters)
    check_formats(options.engine.weights, options.engine.kv_cache, name)
    check_memory(config, device, name, parameters)
    began = time.perf_counter()
    model = _model(options, config, device, dtype)
    loaded = time.perf_counter() - began
    engine = build_engine(model, device, replace(options.engine, engine=name), guided=False)
    rng = np.random.default_rng(0)
    _open(engine.decoder, rng)
    step = _stepper(engine, rng)
    step()
    first_picture = time.perf_counter() - began
    runs: dict[str, Callable[[], None]] = {engine.name: step}
    filled = device.type == "cpu" and parameters >= FILLED_PARAMETERS
    decoders = [engine.decoder]
    compiled = False
    if options.baseline:
        plain = BaselineBackend(model.transformer.to(device))
        compiled = plain.compiled
        pixels = eager_pixels(model.tokenizer.to(device))
        other = Engine("baseline", FrameDecoder(config, InputTables.of(model.transformer), plain), pixels)
        _open(other.decoder, rng)
        runs["baseline"] = _stepper(other, rng)
        runs["baseline"]()  # the first frame warms up, as the engine's did
        decoders.append(other.decoder)
    for decoder, run in zip(decoders, runs.values(), strict=True):
        if filled:
            fill_context(decoder, rng)
            run()  # the first frame after it warms up
        else:
            for _ in trange(ROLLS * config.transformer.window, desc="rolling the context", disable=quiet or None):
                run()
    seconds: dict[str, list[float]] = {run: [] for run in runs}
    for _ in trange(options.frames, desc="measuring", disable=quiet or None):
        for run, call in runs.items():
            synchronise(device)
            start = time.perf_counter()
            call()
            seconds[run].append(time.perf_counter() - start)
    result: dict[str, Any] = {
        "model": str(options.checkpoint or options.preset),
        "weights": "checkpoint" if options.checkpoint else "random",
        "parameters": parameters,
        "device": device_name(device),
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "dtype": str(dtype).removeprefix("torch."),
        "matrices": options.engine.weights if options.engine.weights != "auto" else str(dtype).removeprefix("torch."),
        "kv_cache": options.engine.kv_cache if options.engine.kv_cache != "auto" else str(dtype).removeprefix("torch."),
        "engine": engine.name,
        "stage": getattr(engine.decoder, "stage", None),
        "kernels": getattr(engine.decoder, "kernels", None),
        "order": config.order,
        "passes": config.decode_order().passes,
        "context_frames": config.transformer.attended,
        "context_offsets": config.transformer.offsets,
        "context": "filled with random frames" if filled else f"rolled {ROLLS} times by playing",
        **_summary(seconds[engine.name]),
        "load_s": round(loaded, 2),
        "first_picture_s": round(first_picture, 2),
        "memory_bytes": _memory(device),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "date": time.strftime("%Y-%m-%d"),
    }
    if isinstance(engine.decoder, GraphDecoder):  # the one engine that makes pictures beside tokens
        result["overlapped_fps"] = round(overlapped_fps(engine, options.frames, device), 3)
    native = engine.name == "native"
    if native:
        result |= {
            "path": best_path(),
            "threads": options.engine.threads or default_threads(),
            "matrices": "int8",
            "kv_cache": "int8",
        }
    floor = measure_roofline(device, dtype)
    of_weights, of_cache = (
        1 if result[kind] in ("int8", "fp8") else dtype.itemsize for kind in ("matrices", "kv_cache")
    )
    costs = pass_costs(config, of_weights, of_cache)
    paint_rate = floor.matrix_rate
    if native:  # its products are of int8
        floor = replace(floor, matrix_rate=measure_native_products(result["path"], result["threads"]))
        paint_rate = floor.matrix_rate if isinstance(engine.pixels, NativePainter) else paint_rate
    best = sum(cost.seconds(floor) for cost in costs) + picture_flops(model.tokenizer) / paint_rate
    result["roofline"] = {
        "copy_bytes_per_s": round(floor.bandwidth),
        "matrix_flops_per_s": round(floor.matrix_rate),
        "frame_ms": round(best * 1e3, 3),
        "reached": round(best * 1e3 / result["frame_ms"]["p50"], 4),
    }
    if options.baseline:
        plain = _summary(seconds["baseline"])
        ratio = plain["frame_ms"]["p50"] / result["frame_ms"]["p50"]
        result["baseline"] = {**plain, "compiled": compiled, "times_slower": round(ratio, 2)}
    return result


def report(result: dict[str, Any]) -> str:
    """The result for a person."""
    times, floor = result["frame_ms"], result["roofline"]
    threads = f", {result['threads']} threads" if result["threads"] else ""
    lines = [
        f"{result['model']}: {result['parameters'] / 1e6:.1f} M parameters, {result['weights']} weights, "
        f"{result['matrices']}, {result['order']} ({result['passes']} passes)",
        f"on {result['device']}{threads}, engine {result['engine']}, torch {result['versions']['torch']}",
        f"context: {result['context_frames']} frames, {result['context']}",
        f"{result['fps']:.2f} frames a second over {result['frames']} frames; "
        f"p50 {times['p50']:.1f}, p95 {times['p95']:.1f}, p99 {times['p99']:.1f} ms",
        f"first picture after {result['first_picture_s']:.1f} s (of that, weights {result['load_s']:.1f} s); "
        f"memory {result['memory_bytes'] / 1e9:.2f} GB",
        f"roofline: {floor['copy_bytes_per_s'] / 1e9:.1f} GB/s copied, "
        f"{floor['matrix_flops_per_s'] / 1e9:.0f} G operations/s ({result['matrices']}): "
        f"{floor['frame_ms']:.2f} ms a frame at best, {floor['reached']:.1%} reached",
    ]
    if "overlapped_fps" in result:
        lines.append(f"pictures decoded beside the next tokens: {result['overlapped_fps']:.2f} frames a second")
    if "baseline" in result:
        plain = result["baseline"]
        how = "compiled" if plain["compiled"] else "not compiled"
        lines.append(
            f"baseline ({how}): {plain['fps']:.2f} frames a second, p50 {plain['frame_ms']['p50']:.1f} ms: "
            f"{plain['times_slower']:.2f} times this engine's time"
        )
    return "\n".join(lines)


def _config(options: BenchOptions) -> WorldModelConfig:
    if options.frames < 1:
        raise WorldModelError(f"--frames must be at least 1, got {options.frames}")
    if problems := options.engine.problems():
        raise WorldModelError("; ".join(problems))
    if options.checkpoint is not None:
        config = load_config(options.checkpoint)
    elif options.preset in PRESETS:
        config = PRESETS[options.preset]
    else:
        raise WorldModelError(f"no preset {options.preset!r}; known are {', '.join(PRESETS)}, or give a --checkpoint")
    if not options.order:
        return config
    image = config.image_tokenizer
    try:
        parse_order(options.order, image.grid_height, image.grid_width)
    except ValueError as error:
        raise WorldModelError(str(error)) from None
    return replace(config, order=options.order)


def _model(options: BenchOptions, config: WorldModelConfig, device: torch.device, dtype: torch.dtype) -> WorldModel:
    if options.checkpoint is None:
        tokenizer = ImageTokenizer(config.image_tokenizer).eval().requires_grad_(False)
        return WorldModel(config, tokenizer, random_transformer(config, device, dtype))
    model = load_world_model(options.checkpoint)
    transformer = model.transformer
    if options.order:  # the same weights, decoded in another order
        transformer = random_transformer(config, torch.device("cpu"), torch.float32)
        shared = {k: v for k, v in model.transformer.state_dict().items() if k != "place"}
        transformer.load_state_dict(shared, strict=False)
    return WorldModel(config, model.tokenizer, transformer.to(device, dtype))


def _open(decoder: Decoder, rng: np.random.Generator) -> None:
    decoder.open([random_tokens(decoder, rng)], [])


def _stepper(engine: Engine, rng: np.random.Generator) -> Callable[[], None]:
    """One whole frame, from action to pixels, with the default sampler."""
    encode = engine.decoder.config.action_tokenizer().encode
    frame = 0

    def step() -> None:
        nonlocal frame
        action = Action(frozenset({"forward"}), 0.0, float(rng.integers(-5, 6)))
        tokens, _ = engine.decoder.decode(encode(action), Sampler(), 0, frame)
        engine.pixels(tokens)
        frame += 1

    return step


def overlapped_fps(engine: Engine, frames: int, device: torch.device) -> float:
    """Frames a second if the tokens of the next frame are asked for before the picture of the last one is fetched."""
    encode = engine.decoder.config.action_tokenizer().encode
    action = encode(Action(frozenset({"forward"})))
    synchronise(device)
    start = time.perf_counter()
    tokens, _ = engine.decoder.decode(action, Sampler(), 1, 0)
    for frame in range(1, frames + 1):
        following, _ = engine.decoder.decode(action, Sampler(), 1, frame)
        engine.pixels(tokens)
        tokens = following
    engine.pixels(tokens)
    synchronise(device)  # nothing is under way when the next measurement starts
    return (frames + 1) / (time.perf_counter() - start)


def _summary(seconds: list[float]) -> dict[str, Any]:
    milliseconds = np.asarray(seconds) * 1e3
    percentiles = np.percentile(milliseconds, [50, 95, 99])
    return {
        "frames": len(seconds),
        "fps": round(1e3 / float(milliseconds.mean()), 3),
        "frame_ms": {name: round(float(v), 2) for name, v in zip(("p50", "p95", "p99"), percentiles, strict=True)},
    }


def _memory(device: torch.device) -> int:
    """The most that was in use: of the device, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
