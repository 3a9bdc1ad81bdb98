"""What both trainers share: learning-rate schedule, weight averaging, autocast, the log, stopping."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from tqdm import tqdm


def cosine_lr(step: int, steps: int, warmup: int, final: float = 0.02) -> float:
    """Factor of the peak learning rate: linear warm-up, then a cosine down to `final`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that is spread over processes; another, as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, step: int, decay: float) -> None:
    """Exponential moving average of the weights; shorter at the start, so that it forgets the initial ones."""
    decay = min(decay, (1 + step) / (10 + step))
    held = ([local(tensor) for tensor in owner.state_dict().values()] for owner in (average, module))
    pairs = list(zip(*held, strict=True))
    means, values = zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True)
    torch._foreach_lerp_(means, values, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
    for mean, value in pairs:
        if not mean.is_floating_point():
            mean.copy_(value)


def moved(device: torch.device, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Onto the device; to a GPU through pinned memory, so that the next batch is drawn while it still computes."""
    if device.type != "cuda":
        return tuple(tensor.to(device) for tensor in tensors)
    return tuple(tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors)


DONE = "done"  # the file that a training leaves in its folder when all is done, its scores included
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
        """What was measured holds; steps that were asked for are those of the latest call."""
        if self.minutes > 0:
            self.steps, self.known = state["steps"], state["known"]


def autocast(device: torch.device, enabled: bool) -> AbstractContextManager[Any]:
    """bf16 where the device computes in it: a processor without it emulates it, tens of times as slowly."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled and computes_bf16(device))


def computes_bf16(device: torch.device) -> bool:
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def tell_start(init: Path, prefix: str, others: Collection[str]) -> None:
    """Says which parts of a model do not start from a checkpoint's."""
    if others:
        names = ", ".join(list(others)[:4]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
        tqdm.write(f"{init}: its {prefix} is taken over but for {names}, which it has not in this shape: they are new")


def step_of(line: str) -> float:
    """The step of a line of the log; of a half one, that a kill has left, infinity: it is dropped."""
    try:
        return json.loads(line)["step"]
    except (ValueError, LookupError, TypeError):
        return math.inf


def board_of(folder: Path, resumed_at: int) -> Any:
    """A TensorBoard writer into folder/tensorboard, where that is installed; else None."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_at)


class RunLog:
    """Appends one JSON object a line to `log.jsonl`; a resumed run first drops the lines after its step. The same
    figures go to TensorBoard, where it is installed."""

    def __init__(self, path: Path, resumed_at: int) -> None:
        self.path = path
        if path.exists():
            kept = [line for line in path.read_text(errors="replace").splitlines() if step_of(line) < resumed_at]
            path.write_text("".join(line + "\n" for line in kept))
        self.started = time.monotonic()
        self.board = board_of(path.parent, resumed_at)

    def write(self, step: int, **values: Any) -> None:
        row = {"step": step, **values, "seconds": round(time.monotonic() - self.started, 1)}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self.board is None:
            return
        for name, value in values.items():
            if isinstance(value, int | float):
                self.board.add_scalar(name, value, step)
        self.board.flush()  # a run may end at any step


def split_file(path: Path, out: Path, most: int) -> list[Path]:
    """Copies a file into `out` in pieces NAME.000, NAME.001, ... of at most `most` bytes; one joins them by `cat`."""
    pieces = []
    with path.open("rb") as file:
        while part := file.read(most):
            pieces.append(out / f"{path.name}.{len(pieces):03d}")
            pieces[-1].write_bytes(part)
    return pieces
