"""`worldmodel doctor`: what works on this machine, and the command that installs what does not."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from worldmodel.data.random_play import random_actions
from worldmodel.types import WorldModelError

PACKAGES = ("torch", "openvino", "pygame-ce", "av", "numpy", "pillow")
OPTIONAL = frozenset(("openvino",))  # slower without, but it plays
MEASURED_STEPS = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """One row. ok: as it should be; needed: play does not work without it; remedy: the command that mends it."""

    name: str
    value: str
    ok: bool = True
    needed: bool = False
    remedy: str = ""


def doctor() -> int:
    """Prints the table. 0 if play works here, else 1."""
    findings: list[Finding] = []
    for finding in _findings():
        findings.append(finding)
        mark = "ok" if finding.ok else ("MISSING" if finding.needed else "no")
        print(f"{finding.name:<18} {mark:<8} {finding.value}", flush=True)  # row by row: the last ones take seconds
    remedies = [finding for finding in findings if not finding.ok and finding.remedy]
    if remedies:
        print()
    for finding in remedies:
        print(f"{finding.name}: {finding.remedy}")
    works = all(finding.ok for finding in findings if finding.needed)
    print("\n" + ("worldmodel play works here" if works else "worldmodel play does not work here yet"))
    return 0 if works else 1


def _findings() -> Iterable[Finding]:
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    have_all = True
    for package in PACKAGES:
        finding = _package(package)
        have_all = have_all and (finding.ok or not finding.needed)
        yield finding
    yield Finding("cpu", f"{os.cpu_count()} cores")
    yield _display()
    yield _real_game()
    if have_all:  # the rest imports them
        yield from _engines()
        yield _model()


def _package(package: str) -> Finding:
    try:
        return Finding(package, version(package))
    except PackageNotFoundError:
        return Finding(package, "not installed", False, package not in OPTIONAL, f"pip install {package}")


def _engines() -> Iterable[Finding]:
    import torch

    yield Finding("engine eager", "PyTorch on the cpu")
    yield _native()
    if _package("openvino").ok:
        try:
            import openvino

            devices = ", ".join(openvino.Core().available_devices)
            yield Finding("engine openvino", f"on {devices}", "CPU" in devices)
        except (ImportError, RuntimeError) as error:
            yield Finding("engine openvino", f"does not load ({error})", False, False, "pip install --upgrade openvino")
    if torch.cuda.is_available():
        yield Finding("cuda", torch.cuda.get_device_name())
    else:
        yield Finding("cuda", "no CUDA device for PyTorch (nano needs none)", False)


def _native() -> Finding:
    """Which path of the native engine, and why. The first time, it is compiled."""
    from worldmodel.config import PRESETS
    from worldmodel.engine.choice import COMPILE_SECONDS
    from worldmodel.engine.host.native import best_path, default_threads, native_problem, path_reason

    name = "engine native"
    if problem := native_problem(PRESETS["nano"], COMPILE_SECONDS):
        return Finding(name, problem, False, False, "sudo apt-get install g++ (OpenVINO plays without it)")
    return Finding(name, f"int8, {default_threads()} threads, path {best_path()}: {path_reason()}")


def _display() -> Finding:
    from client.display import check_display

    try:
        check_display("use --headless")
    except WorldModelError as error:
        return Finding("display", str(error), False, False, "worldmodel play --headless, or run it under a desktop")
    return Finding("display", os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform)


def _real_game() -> Finding:
    """Whether the real game can be played and recorded."""
    name = "real game"
    try:
        from worldmodel.games.luanti.build import missing_packages  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        return Finding(name, f"not in this version ({error.name})", False)
    try:
        missing: list[str] = missing_packages()
    except WorldModelError as error:
        return Finding(name, str(error), False)
    if missing:
        return Finding(name, f"missing {', '.join(missing)}", False, False, f"sudo apt-get install {' '.join(missing)}")
    return Finding(name, "Luanti can be played and recorded")


def _model() -> Finding:
    """The shipped model, played for a few frames."""
    from worldmodel.settings import EngineOptions
    from worldmodel.worlds.neural import NeuralWorld, find_checkpoint

    name = "model nano"
    try:
        began = time.monotonic()
        world = NeuralWorld(find_checkpoint("nano"), EngineOptions())
        world.reset()
        loaded = time.monotonic() - began
        actions = random_actions(0)
        world.step(next(actions))  # the first one warms up
        began = time.monotonic()
        for _ in range(MEASURED_STEPS):
            world.step(next(actions))
        fps = MEASURED_STEPS / (time.monotonic() - began)
        world.close()
    except WorldModelError as error:
        return Finding(
            name,
            str(error),
            False,
            True,
            "git restore worldmodel/pretrained (in your clone), or install worldmodel again",
        )
    verdict = "" if fps >= world.tick_rate else f", slower than its {world.tick_rate:g}: close other programs"
    return Finding(name, f"{fps:.1f} frames a second ({world.engine}), loads in {loaded:.1f} s{verdict}", True, True)
