"""What both trainers share: learning-rate schedule, weight averaging, autocast, the log, stopping."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn

from worldmodel.ending import PIPE_CODE, Output
from worldmodel.types import WorldModelError

USER_ERROR = 2  # exit code for a mistake of the user's
TO_BE_CONTINUED = 3  # exit code of a script that stopped early because it was told to


def cosine_lr(step: int, steps: int, warmup: int, final: float = 0.02) -> float:
    """Factor of the peak learning rate: linear warm-up, then a cosine down to `final`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, step: int, decay: float) -> None:
    """Exponential moving average of the weights; shorter at the start, so that it forgets the initial ones."""
    decay = min(decay, (1 + step) / (10 + step))
    pairs = list(zip(average.state_dict().values(), module.state_dict().values(), strict=True))
    means, values = zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True)
    torch._foreach_lerp_(means, values, 1 - decay)  # one launch on a GPU, not one a weight
    for mean, value in pairs:
        if not mean.is_floating_point():
            mean.copy_(value)


def moved(device: torch.device, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Onto the device; to a GPU through pinned memory, so that the next batch is drawn while it still computes."""
    if device.type != "cuda":
        return tuple(tensor.to(device) for tensor in tensors)
    return tuple(tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors)


PACED_AFTER = (10, 40)  # steps: from when the pace of a run is measured, and until when


class Pace:
    """How many steps a run has: `steps`, or, with `minutes` > 0, as many as the first ones' pace fits into those. Set
    once, before the warm-up ends, and kept in the run's state, so that a resumed run has the same schedule."""

    def __init__(self, steps: int, minutes: float) -> None:
        self.steps, self.minutes, self.known = steps, minutes, minutes <= 0
        self.began = self.measured = time.monotonic()

    def after(self, done: int, device: torch.device) -> None:
        """Is told of every step that was done."""
        if self.known or done not in PACED_AFTER:
            return
        if device.type == "cuda":
            torch.cuda.synchronize()
        now = time.monotonic()
        if done == PACED_AFTER[0]:
            self.measured = now
            return
        pace = (now - self.measured) / (PACED_AFTER[1] - PACED_AFTER[0])
        self.steps = done + int(max(0.0, 60 * self.minutes - (now - self.began)) / pace)
        self.known = True

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "known": self.known}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.known = state["steps"], state["known"]


def autocast(device: torch.device, enabled: bool) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


class RunLog:
    """Appends one JSON object a line to `log.jsonl`; a resumed run first drops the lines after its step."""

    def __init__(self, path: Path, resumed_at: int) -> None:
        self.path = path
        if path.exists():
            rows = [line for line in path.read_text().splitlines() if line.strip()]
            kept = [row for row in rows if json.loads(row)["step"] < resumed_at]
            path.write_text("".join(row + "\n" for row in kept))
        self.started = time.monotonic()

    def write(self, step: int, **values: float) -> None:
        row = {"step": step, **values, "seconds": round(time.monotonic() - self.started, 1)}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def split_file(path: Path, out: Path, most: int) -> list[Path]:
    """Copies a file into `out` in pieces NAME.000, NAME.001, ... of at most `most` bytes; one joins them by `cat`."""
    pieces = []
    with path.open("rb") as file:
        while part := file.read(most):
            pieces.append(out / f"{path.name}.{len(pieces):03d}")
            pieces[-1].write_bytes(part)
    return pieces


TRAIN_EXTRA = ("matplotlib", "scipy", "sklearn", "torchmetrics")  # pyproject.toml's `train`


def require_extra() -> None:
    """WorldModelError unless the packages of the `train` extra are installed: playing needs none of them."""
    missing = [name for name in TRAIN_EXTRA if find_spec(name) is None]
    if missing:
        raise WorldModelError(f"this script needs {', '.join(missing)}: pip install -e '.[train]'")


def main_with_errors(main: Callable[[Any], bool | None], arguments: type, extra: bool = False) -> None:
    """Runs a script: a user's mistake (WorldModelError, ValueError of an option) is one sentence, exit code 2.

    Exit code 3 if `main` returns False: stopped early, the same command goes on. extra: see require_extra.
    """
    about = (sys.modules[main.__module__].__doc__ or "").partition("\n\n")[0]
    code, leaving = 0, None
    with Output() as output:
        try:
            if extra:
                require_extra()
            code = TO_BE_CONTINUED if main(tyro.cli(arguments, description=about)) is False else 0
        except SystemExit as ended:  # tyro's own: --help, or a wrong option
            leaving = ended
        except WorldModelError as error:
            print(f"error: {error}", file=sys.stderr)
            code = USER_ERROR
        except OSError:
            if output.problem() is None:
                raise
        unread = output.problem()
    if isinstance(unread, BrokenPipeError):  # `| head` has seen enough
        sys.exit(PIPE_CODE)
    if unread is not None:
        print(f"error: standard output cannot be written ({unread.strerror})", file=sys.stderr)
        sys.exit(USER_ERROR)
    if leaving is not None:
        raise leaving
    if code:
        sys.exit(code)
