"""Checks and measures everything that needs a GPU, in one run of under 8 minutes.

    python scripts/gpu_check.py [--out benchmarks/gpu.json] [--limit 470]

Parts, in this order: kernel and graph tests, compute-sanitizer (if it is there), then each preset: the graph by our
kernels, by the library alone, with 8-bit weights, and the plain baseline. The JSON is written after every part; a
second run does only the parts that are missing (--again: all). Parts that no longer fit into the limit are left for
the next run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from kernels.launch import has_cupy
from worldmodel.data.frames import write_json
from worldmodel.measure.bench import bench
from worldmodel.measure.provenance import device_name
from worldmodel.script import main_with_errors
from worldmodel.settings import BenchOptions, Device, EngineOptions, Preset
from worldmodel.types import WorldModelError

TESTS = ["tests/kernels/test_kernels.py", "tests/worldmodel/engine/test_frame_step.py", "-m", "gpu", "-q"]


@dataclass(frozen=True)
class Arguments:
    """What is checked and measured."""

    out: Path = Path("benchmarks/gpu.json")
    """File for the figures."""
    limit: float = 470.0
    """Seconds for the whole run."""
    frames: int = 200
    """Frames that are measured of each preset."""
    presets: tuple[Preset, ...] = get_args(Preset)
    """Sizes of models."""
    device: Device = "cuda"
    """Another than "cuda" is for a trial without a GPU."""
    skip: tuple[str, ...] = ()
    """Parts to leave out."""
    again: bool = False
    """Do parts that are in the file already."""


def run_tests(limit: float, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    """pytest of the parts that need a GPU; its last lines are kept."""
    command = [*prefix, sys.executable, "-m", "pytest", *TESTS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(limit, 1), check=False)
    except subprocess.TimeoutExpired:
        return {"passed": False, "output": [f"stopped after {limit:.0f} s"]}
    return {"passed": done.returncode == 0, "output": (done.stdout + done.stderr).splitlines()[-12:]}


def sanitize(limit: float) -> dict[str, Any]:
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return {"passed": None, "output": ["compute-sanitizer is not installed"]}
    return run_tests(min(limit, 90.0), (tool, "--tool", "memcheck", "--error-exitcode", "9"))


def with_engine(options: BenchOptions, **changes: Any) -> BenchOptions:
    return replace(options, engine=replace(options.engine, **changes))


def parts_of(args: Arguments, left: Callable[[], float]) -> dict[str, Callable[[], Any]]:
    parts: dict[str, Callable[[], Any]] = {}
    if args.device == "cuda":
        parts["tests"] = lambda: run_tests(left())
        parts["sanitizer"] = lambda: sanitize(left())
    for preset in args.presets:
        options = BenchOptions(preset, frames=args.frames, engine=EngineOptions(device=args.device))
        parts[f"{preset}/engine"] = lambda o=options: bench(replace(o, baseline=True), quiet=True)
        if args.device == "cuda":
            parts[f"{preset}/library"] = lambda o=options: bench(with_engine(o, kernels="library"), quiet=True)
            for weights, kv_cache in (("int8", "auto"), ("fp8", "auto"), ("int8", "int8")):
                name = weights + ("" if kv_cache == "auto" else f"-kv-{kv_cache}")
                changed = with_engine(options, weights=weights, kv_cache=kv_cache)
                parts[f"{preset}/{name}"] = lambda o=changed: bench(o, quiet=True)
    return parts


def main(args: Arguments) -> None:
    began = time.monotonic()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise WorldModelError("no CUDA device here: this script checks one (--device cpu tries the script itself)")
    known = json.loads(args.out.read_text()) if args.out.is_file() and not args.again else {}
    results: dict[str, Any] = known.get("parts", {})
    name = device_name(torch.device(args.device))
    if known and known.get("device") != name:
        raise WorldModelError(
            f"{args.out} was measured on {known.get('device')}, this is {name}: --again, or another --out"
        )
    head = {
        "device": name,
        "date": time.strftime("%Y-%m-%d"),
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda, "cupy": has_cupy()},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    seconds = 0.0
    for part, work in parts_of(args, lambda: args.limit - (time.monotonic() - began)).items():
        if part in results and "failed" not in results[part] and results[part].get("passed", True) is not False:
            continue  # done; what failed is tried again
        spent = time.monotonic() - began
        if spent + seconds > args.limit:  # the next part takes about as long as the last one
            print(f"{part}: left for the next run, {spent:.0f} s are spent", flush=True)
            continue
        started = time.monotonic()
        try:
            results[part] = work()
        except (
            RuntimeError,
            AssertionError,
            ValueError,
            WorldModelError,
        ) as error:  # one part that fails does not cost the others
            results[part] = {"failed": str(error).splitlines()[0]}
        seconds = time.monotonic() - started
        torch.cuda.empty_cache()
        write_json(args.out, {**head, "parts": results})
        print(f"{part}: {seconds:.0f} s: {summary(results[part])}", flush=True)


def summary(result: dict[str, Any]) -> str:
    if "failed" in result:
        return f"FAILED: {result['failed']}"
    if "passed" in result:
        return f"{'passed' if result['passed'] else 'not passed'}: {' | '.join(result['output'][-2:])}"
    ratio = f", baseline {result['baseline']['times_slower']} times slower" if "baseline" in result else ""
    beside = f", {result['overlapped_fps']} with pictures beside" if "overlapped_fps" in result else ""
    return f"{result['fps']} frames a second ({result['stage']}){beside}, p50 {result['frame_ms']['p50']} ms{ratio}"


if __name__ == "__main__":
    main_with_errors(main, Arguments)
