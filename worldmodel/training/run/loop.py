"""The loop of every training: steps, each done whole, up to the last one, a planned stop or a signal.

Of several processes (torchrun), all end after the same step: what one is asked to do, all do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from tqdm import tqdm

from worldmodel.checkpoint import CheckpointError
from worldmodel.ending import Held
from worldmodel.locking import building
from worldmodel.training.run.common import Pace
from worldmodel.training.run.memory import keep_memory
from worldmodel.training.run.state import Stateful, WholeState
from worldmodel.training.run.stopping import processes, rank, say_stopped

GO_ON, PLANNED = -1, 0  # what a process has to say after a step; else the number of a signal, which outranks these


class Peers:
    """The processes of one training. Made when they are connected, by all of them."""

    def __init__(self) -> None:
        # Numbers on the CPU, whatever the gradients go through: nothing waits for a GPU.
        self.group = torch.distributed.new_group(backend="gloo") if processes() > 1 else None

    def most(self, *values: int) -> list[int]:
        """The largest of each value, over all processes."""
        if self.group is None:
            return list(values)
        largest = torch.tensor(values, dtype=torch.int64)
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX, self.group)
        return largest.tolist()


class Run:
    """A training run in its folder: what is kept of it (`state`, by default in `state.pt`), and how far it is.

    parts: what is saved and restored, by name; write: what else to write whenever they are saved, or, where all
    processes save together, at the end of a call. done: the number of steps that were done. CheckpointError for a state
    that cannot be read, or is another model's.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        pace: Pace,
        parts: Mapping[str, Stateful],
        write: Callable[[], object] = lambda: None,
        state: WholeState | None = None,
    ) -> None:
        self.name, self.folder, self.pace, self.parts, self.write = name, folder, pace, parts, write
        self.state = state or WholeState(folder)
        self.done = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.restore()

    def restore(self) -> None:
        try:
            state = self.state.load(self.parts)
            if state is None:
                return
            if "pace" in state:  # earlier versions had none
                self.pace.load_state_dict(state["pace"])
            self.done = int(state["step"])
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(
                f"{self.state.read} is the state of another run, with other options or of another version ({reason}): "
                "give another --out, or delete it to start again"
            ) from None

    def save(self, ending: bool = True) -> None:
        """ending: whether this call of the training ends with it."""
        values = {"step": self.done, "pace": self.pace.state_dict()}
        if self.state.together:
            self.state.save(values, self.parts)
            if ending:
                self.write()
        elif rank() == 0:
            with building(self.folder):
                self.state.save(values, self.parts)
                self.write()

    def go(
        self,
        step: Callable[[int, tqdm], object],
        device: torch.device,
        save_minutes: float,
        stop_after_minutes: float | None = None,
        report: Callable[[int, tqdm], object] = lambda done, bar: None,
        report_steps: int | None = None,
    ) -> bool:
        """Whether the last step was reached, and saved. The state is saved every save_minutes, and after
        stop_after_minutes or at a signal, which end the run; a signal is raised. report: called every report_steps,
        but not at the end. Of several processes, all report and save after the same steps, and a signal waits for it:
        what all do together, none may leave."""
        peers, pace = Peers(), self.pace
        if device.type == "cpu":
            keep_memory()
        bar = tqdm(initial=self.done, total=pace.steps, desc=self.name, unit="step", disable=rank() > 0)
        started = saved = time.monotonic()
        whole, asked, due = True, GO_ON, 0

        def between() -> None:
            nonlocal saved
            if asked == GO_ON and report_steps and self.done % report_steps == 0 and self.done < pace.steps:
                report(self.done, bar)
            if self.done < pace.steps and due:
                self.save(ending=False)
                saved = time.monotonic()

        first = self.done
        try:
            while self.done < pace.steps and asked == GO_ON:
                with Held() as held:
                    if peers.group is not None and self.done > first:
                        between()
                    whole = False
                    step(self.done, bar)
                    self.done += 1
                    pace.after(self.done, device)
                    now = time.monotonic()
                    over = stop_after_minutes is not None and now - started > 60 * stop_after_minutes
                    asked, pace.steps, due = peers.most(
                        held.number or (PLANNED if over else GO_ON), pace.steps, int(now - saved > 60 * save_minutes)
                    )
                    held.number = max(asked, 0)
                    whole = True
                bar.total = pace.steps
                bar.update()
                if peers.group is None:
                    between()
            if peers.group is None:
                self.save()
            else:
                with Held():
                    self.save()
                    whole = False
        except KeyboardInterrupt as interrupt:
            if whole:  # else it came while a step failed, or when all was saved
                self.save()
                interrupt.add_note(f"step {self.done}")
            raise
        finally:
            bar.close()
        if self.done < pace.steps:
            say_stopped(at=f"step {self.done}")
        return self.done >= pace.steps
