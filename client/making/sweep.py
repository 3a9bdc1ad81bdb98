"""What do temperature, top-p and the decode order cost and give? Score a small grid of them on recorded clips.

A decode order belongs to the weights (they were trained with its mask): give a checkpoint for each order. Leaves
sweep.json and sweep.png (F1, PSNR and the variety that long play keeps, against frames a second) in --out. Rollouts are
kept: started again, it goes on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from tyro.conf import OmitArgPrefixes

from kernels.sampling import Sampler
from worldmodel.checkpoint import SHORT_HASH
from worldmodel.data.clips import check_length
from worldmodel.data.frames import build_frame_store, open_frame_store, write_json
from worldmodel.data.tokens import build_token_store
from worldmodel.evaluation.following.drift import STRETCH, roll_out_long
from worldmodel.evaluation.following.episodes import pick_episodes
from worldmodel.evaluation.following.tally import MODEL, REAL, Tally, show_episodes
from worldmodel.evaluation.metrics.codes import token_entropy
from worldmodel.measure.provenance import provenance
from worldmodel.measure.speed import time_frames
from worldmodel.model.loading import load_config
from worldmodel.parsing import read_json
from worldmodel.readers.idm import PRETRAINED_IDM
from worldmodel.readers.reader import ActionReader, load_reader
from worldmodel.settings import EngineOptions, check_least, check_settings, option_of
from worldmodel.training.world import HELD_OUT_FRAMES, held_out_loss
from worldmodel.worlds.neural import NeuralWorld, find_checkpoint


@dataclass(frozen=True)
class Arguments:
    """What is varied, and on what it is scored."""

    checkpoints: tuple[Path, ...]
    """World models that are to be compared: "nano", or folders."""
    data: tuple[Path, ...]
    """Folders of held-out clips."""
    out: Path
    """Folder of the results."""
    temperatures: tuple[float, ...] = (0.7, 1.0)
    """Sampling temperatures."""
    top_ps: tuple[float, ...] = (0.8, 1.0)
    """Values of top-p."""
    guidances: tuple[float, ...] = (0.0,)
    """Values of the guidance."""
    idm: Path = PRETRAINED_IDM
    """What reads the actions, as in `worldmodel evaluate`."""
    clips: int = 16
    """How many stretches, spread over the data."""
    frames: int = 15
    """Frames generated of each."""
    context: int = 0
    """Recorded frames before them. Default: as many as the model sees."""
    drift: int = 2
    """Long rollouts on random actions: cold settings look well in short ones, and end in an empty land."""
    drift_frames: int = 300
    """Frames of each of them, 100 or more."""
    timed: int = 50
    """Frames whose speed is measured, for each setting."""
    engine: OmitArgPrefixes[EngineOptions] = field(default_factory=EngineOptions)
    cache: Path = Path("runs/evaluation")
    """Folder of decoded frames and their tokens."""
    skip_bad: bool = False
    """Leave clips out that cannot be used, instead of ending; they are named."""


def samplers(args: Arguments) -> list[Sampler]:
    """Every combination. ConfigError for a value out of its range."""
    values = {"temperature": args.temperatures, "top_p": args.top_ps, "guidance": args.guidances}
    check_settings((f"{option_of(name)}s", name, value) for name, given in values.items() for value in given)
    settings = product(*values.values())
    return [Sampler(temperature, 0, top_p, guidance) for temperature, top_p, guidance in settings]


def sweep_checkpoint(args: Arguments, checkpoint: Path, reader: ActionReader) -> list[dict[str, Any]]:
    """A row for each temperature, top-p and guidance."""
    world = NeuralWorld(checkpoint, args.engine).load()
    reader.check(world.frame_shape, str(checkpoint))
    store = args.cache / "frames"
    stored = open_frame_store(store, build_frame_store(args.data, store, *world.frame_shape, skip_bad=args.skip_bad))
    folder = args.out / world.weights[:SHORT_HASH]
    tokens = build_token_store(stored, world.model.tokenizer, world.model.config, store, world.device)
    episodes = pick_episodes(list(zip(stored, tokens, strict=True)), args.clips, args.context + args.frames)
    kept = folder / "validation.json"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(kept, held_out_loss(world.model.transformer, tokens))
    validation = {"validation": read_json(kept)}
    rows = []
    for sampler in samplers(args):
        world.sampler = sampler
        name = f"t{sampler.temperature}-p{sampler.top_p}-g{sampler.guidance}-{args.clips}x{args.frames}-{args.context}"
        name += f"-{args.drift}x{args.drift_frames}"
        done = folder / f"{name}.json"
        if done.exists():
            rows.append(read_json(done) | validation)
            continue
        first = episodes[0]
        speed = time_frames(world, first.tokens[: args.context], first.actions[: args.context - 1], args.timed)
        tally = Tally(reader, args.context)
        rolled = show_episodes(world, episodes, args.context, 1, world.sampler, folder / name, control=False)
        for shown in tqdm(rolled, total=len(episodes), desc=f"{checkpoint.name} {name}", unit="clip"):
            tally.add(shown)
        following, picture = tally.following(), tally.picture()
        long = roll_out_long(world, episodes, args.drift, args.drift_frames, args.context, folder / name)
        row = {
            "checkpoint": checkpoint.resolve().name,
            "weights_sha256": world.weights,
            "order": world.model.config.order,
            "engine": world.engine,
            "sampler": asdict(world.sampler),
            "f1": following[MODEL]["f1"],
            "f1_interval95": following[MODEL]["interval95"]["f1"],
            "f1_real": following[REAL]["f1"],
            "psnr": float(np.mean(picture[f"psnr_{MODEL}"])),
            "psnr_repeat": float(np.mean(picture["psnr_repeat"])),
            "token_entropy": [
                float(np.mean([token_entropy(tokens[part]) for tokens, _ in long]))
                for part in (slice(STRETCH), slice(-STRETCH, None))
            ],
            "speed": speed,
        }
        write_json(done, row)
        rows.append(row | validation)
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """F1, PSNR and entropy against frames a second, a point a setting."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4), layout="constrained")
    measures = {
        "F1": lambda row: row["f1"],
        "PSNR, dB": lambda row: row["psnr"],
        f"entropy of tokens, last {STRETCH} frames of long play": lambda row: row["token_entropy"][1],
    }
    for axes, (label, value) in zip(figure.subplots(1, 3), measures.items(), strict=True):
        for row in rows:
            sampler = row["sampler"]
            title = f"{row['checkpoint']} {row['order']}, t {sampler['temperature']}, p {sampler['top_p']}"
            title += f", guidance {sampler['guidance']}" if sampler.get("guidance") else ""
            point = (row["speed"]["fps"], value(row))
            error = [[row["f1"] - row["f1_interval95"][0]], [row["f1_interval95"][1] - row["f1"]]]
            axes.errorbar(*point, yerr=error if label == "F1" else None, marker="o", capsize=3, label=title)
        axes.set_xlabel("frames a second")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main(args: Arguments) -> None:
    found = tuple(find_checkpoint(str(checkpoint)) for checkpoint in args.checkpoints)
    window = max(load_config(folder).transformer.window for folder in found)
    args = replace(args, checkpoints=found, context=args.context or window)
    check_least(1, clips=args.clips, frames=args.frames, context=args.context, drift=args.drift, timed=args.timed)
    check_least(STRETCH, drift_frames=args.drift_frames)
    samplers(args)  # raises for what cannot be sampled with
    reader = load_reader(args.idm)
    check_length(args.data, max(args.context + args.frames, window + HELD_OUT_FRAMES))
    rows = [row for checkpoint in args.checkpoints for row in sweep_checkpoint(args, checkpoint, reader)]
    facts = {"idm_sha256": reader.sha256, "data": [folder.name for folder in args.data], "seed": 0}
    facts |= {"clips": args.clips, "frames": args.frames, "context": args.context}
    facts |= {"drift": args.drift, "drift_frames": args.drift_frames}
    write_json(args.out / "sweep.json", {"provenance": provenance(), **facts, "rows": rows})
    draw(rows, args.out / "sweep.png")
    for row in rows:
        sampler, speed = row["sampler"], row["speed"]
        print(
            f"{row['checkpoint']} {row['order']} temperature {sampler['temperature']} top-p {sampler['top_p']}: "
            f"loss {row['validation']['loss_nats_per_token']:.3f} nats a token, "
            f"F1 {row['f1']:.3f}, PSNR {row['psnr']:.2f} dB, entropy of the first and last {STRETCH} frames' tokens "
            f"{row['token_entropy'][0]:.2f} and {row['token_entropy'][1]:.2f} nats, {speed['fps']:.1f} FPS"
        )
    print(args.out / "sweep.png")
