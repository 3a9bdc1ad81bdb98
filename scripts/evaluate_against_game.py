"""Plays the same start and the same actions in the real game (Luanti) and in a checkpoint, and scores the model.

    python scripts/evaluate_against_game.py --checkpoint worldmodel/pretrained/nano --out out/game [--trials 50]
                                            [--seed 0] [--preset grassland] [--kinds turn move pace dig place ...]

Turns (degrees and sign), walks (direction), dug and placed blocks (do they show, and stay after looking 44 degrees away
and back?), hotbar keys, ways there and back. The real side is recorded once, in --out/real: other checkpoints are
compared on the same trials. Leaves scores.json, trials.csv, page.html and a strip of pictures a trial in
--out/<checkpoint>-<hash>. Started again, it goes on where it stopped. Needs the Debian packages that `worldmodel
doctor` names.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from worldmodel.checkpoint import SHORT_HASH, weights_hash
from worldmodel.evaluation.beside_game.neural_model import NeuralModel
from worldmodel.evaluation.beside_game.run import AgainstOptions, claim, record_real, run_trials, write_results
from worldmodel.evaluation.beside_game.trials import KINDS
from worldmodel.games.luanti.build import require_packages
from worldmodel.games.luanti.presets import DEFAULT_LAND
from worldmodel.measure.provenance import provenance
from worldmodel.model.loading import load_sampler
from worldmodel.script import main_with_errors
from worldmodel.settings import EngineOptions, SamplingOptions
from worldmodel.worlds.neural import NeuralWorld, find_checkpoint


@dataclass(frozen=True)
class Arguments:
    """What is played beside the real game."""

    checkpoint: str
    """A world model: "nano", or a folder."""
    out: Path
    """Folder of the results; the real side, in `real`, is recorded once."""
    trials: int = 50
    """Trials of each kind."""
    seed: int = 0
    """Of the land and of the trials."""
    preset: str = DEFAULT_LAND
    """The kind of land."""
    away: float = 1.0
    """Seconds of looking elsewhere, once something was dug or placed."""
    kinds: tuple[str, ...] = KINDS
    """Kinds of trials."""
    engine: OmitArgPrefixes[EngineOptions] = field(default_factory=EngineOptions)
    sampling: OmitArgPrefixes[SamplingOptions] = field(default_factory=SamplingOptions)


def main(args: Arguments) -> None:
    # What can be wrong is found before the long work.
    checkpoint = find_checkpoint(args.checkpoint)
    options = AgainstOptions(args.out, args.trials, args.seed, args.preset, args.kinds, args.away)
    given = args.sampling.given()
    sampler = args.sampling.over(load_sampler(checkpoint))
    world = NeuralWorld(checkpoint, args.engine, sampler).load()
    require_packages()
    settings = "".join(f"-{name}-{value:g}" for name, value in given.items())
    folder = args.out / f"{checkpoint.resolve().name}-{world.weights[:SHORT_HASH]}{settings}"
    drawn = {"weights_sha256": world.weights, "sampler": asdict(world.sampler)}  # a checkpoint's own may change
    claim(folder, "settings.json", drawn, "choose another --out, or delete it")
    real = record_real(options)
    results = run_trials(options, real, NeuralModel(world), folder)
    facts = {
        **provenance(),
        "checkpoint": checkpoint.resolve().name,
        "weights_sha256": weights_hash(checkpoint),
        "decode_order": world.model.config.order,
        "engine": world.engine,
        "sampler": asdict(world.sampler),
        "seed": args.seed,
        "trials_of_each_kind": args.trials,
        "preset": args.preset,
        "away_seconds": args.away,
    }
    write_results(folder, results, facts)
    print(folder / "page.html")


if __name__ == "__main__":
    main_with_errors(main, Arguments, extra=True)
