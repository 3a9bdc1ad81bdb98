"""The mean of world models' weights, to be packed, or to begin another training with (--init).

    python scripts/average_weights.py --checkpoints nano runs/a runs/b --out runs/mean
    python scripts/average_weights.py --checkpoints runs/mean runs/guided runs/world --shares 1 1 -1 --out runs/sum

Shares below 0 take weights away: the second line adds to the mean what a training from `world` to `guided` changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from worldmodel.model.averaging import averaged, shares_of
from worldmodel.model.loading import load_starts, save_starts, save_world_model
from worldmodel.script import main_with_errors
from worldmodel.worlds.neural import find_checkpoint


@dataclass(frozen=True)
class Arguments:
    """What is added up."""

    checkpoints: tuple[str, ...]
    """World models of one configuration and tokenizer: "nano", or folders. Start scenes are those of the first."""
    out: Path
    """Folder of the mean."""
    shares: tuple[float, ...] = ()
    """How much of each; together 1. Default: as much of each."""


def main(args: Arguments) -> None:
    shares = shares_of(len(args.checkpoints), args.shares)
    folders = [find_checkpoint(name) for name in args.checkpoints]
    model = averaged(folders, shares)
    save_world_model(args.out, model.config, model.tokenizer, model.transformer)
    if starts := load_starts(folders[0], model.config):
        save_starts(args.out, starts)
    print(f"{args.out}: {' + '.join(f'{s:.3g} x {n}' for s, n in zip(shares, args.checkpoints, strict=True))}")


if __name__ == "__main__":
    main_with_errors(main, Arguments)
