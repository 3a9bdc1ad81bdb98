"""From episodes to scores: the pictures that each source shows of an episode, and what is counted of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.sampling import Sampler
from worldmodel.data.played import decode_tokens
from worldmodel.evaluation.following.episodes import Episode
from worldmodel.evaluation.following.mineworld import Transitions, protocol, vpt_bins
from worldmodel.evaluation.following.rollout import kept_rollout
from worldmodel.evaluation.following.scores import BIN_DEGREES, Counts, add_up, as_told, count, interval, score
from worldmodel.evaluation.metrics.picture import frechet_distance, psnr, ssim
from worldmodel.readers.reader import ActionReader
from worldmodel.tokenizers.action import camera_bins
from worldmodel.worlds.neural import NeuralWorld

REAL, RECONSTRUCTED, MODEL, SHUFFLED, REPEAT = "real", "reconstructed", "model", "shuffled", "repeat"
SOURCES = (REAL, RECONSTRUCTED, MODEL, SHUFFLED)  # whose actions are read
PICTURED = (MODEL, REPEAT, RECONSTRUCTED, SHUFFLED)  # whose pictures are compared with the recorded ones


@dataclass(frozen=True, slots=True)
class Shown:
    """One episode, one seed. frames: source -> uint8 (context + frames, H, W, 3)."""

    episode: Episode
    number: int
    seed: int
    frames: dict[str, NDArray[np.uint8]]


def show_episodes(
    world: NeuralWorld,
    episodes: Sequence[Episode],
    context: int,
    seeds: int,
    sampler: Sampler,
    folder: Path,
    control: bool = True,
) -> Iterator[Shown]:
    """Rolls every episode out, `seeds` times, on its own actions and (control) on those of another one.

    folder: where rollouts are kept: what is there is not made again.
    """
    tokenizer = world.model.tokenizer
    for number, episode in enumerate(episodes):
        known = decode_tokens(tokenizer, episode.tokens)
        frames = len(episode.tokens) - context
        other = episodes[(number + len(episodes) // 2) % len(episodes)]
        told = {MODEL: episode.actions} | ({SHUFFLED: other.actions} if control else {})
        for seed in range(seeds):
            shown = {REAL: episode.frames, RECONSTRUCTED: known}
            for name, actions in told.items():
                path = folder / f"{name}-{number:04d}-{seed}.npy"
                made = kept_rollout(world.decoder, episode.tokens[:context], actions, frames, sampler, seed, path)
                shown[name] = np.concatenate([known[:context], decode_tokens(tokenizer, made)])
            yield Shown(episode, number, seed, shown)


@dataclass(slots=True)
class Tally:
    """Adds up episodes. counts, features: by source, an entry an episode and seed (the reader keeps nothing from one to
    the next); rows: PSNR and SSIM of every generated frame; transitions: for MineWorld's scores."""

    reader: ActionReader
    context: int
    counts: dict[str, list[Counts]] = field(default_factory=dict)
    features: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    transitions: dict[str, list[Transitions]] = field(default_factory=dict)

    def add(self, shown: Shown) -> None:
        own = slice(self.context - 1, None)  # the transitions into the generated frames
        held, bins = as_told(shown.episode.held[:-1])[own], camera_bins(shown.episode.actions[:-1])[own]
        for name, frames in shown.frames.items():
            if shown.seed > 0 and name in (REAL, RECONSTRUCTED):
                continue  # they are the same for every seed
            found = self.reader.read(frames)
            self.counts.setdefault(name, []).append(count(held, found.held[own], bins, found.bins[own]))
            self.features.setdefault(name, []).append(found.features[own])
            if shown.episode.degrees is not None:
                camera = found.vpt_camera if found.vpt_camera is not None else vpt_bins(BIN_DEGREES[found.bins])
                told = vpt_bins(shown.episode.degrees[:-1])[own]
                self.transitions.setdefault(name, []).append(Transitions(held, found.held[own], told, camera[own]))
        real, last = shown.frames[REAL][self.context :], shown.frames[REAL][self.context - 1][None]
        pictures = {name: frames[self.context :] for name, frames in shown.frames.items() if name != REAL}
        pictures[REPEAT] = np.broadcast_to(last, real.shape)
        values = {name: (psnr(frames, real), ssim(frames, real)) for name, frames in pictures.items()}
        for index in range(len(real)):
            row: dict[str, Any] = {
                "clip": shown.episode.clip, "start": shown.episode.start, "seed": shown.seed, "frame": index + 1,
            }  # fmt: skip
            for name in PICTURED:
                if name in values:
                    row[f"psnr_{name}"] = round(float(values[name][0][index]), 4)
                    row[f"ssim_{name}"] = round(float(values[name][1][index]), 5)
            self.rows.append(row)

    def following(self) -> dict[str, dict[str, Any]]:
        """By source: the scores, and their bootstrap intervals over clips."""
        return {
            name: {**asdict(score(add_up(parts))), "interval95": interval(parts)} for name, parts in self.counts.items()
        }

    def mineworld(self) -> dict[str, dict[str, Any]]:
        """By source: MineWorld's scores, where the episodes have the degrees that they need."""
        return {name: protocol(parts) for name, parts in self.transitions.items()}

    def picture(self) -> dict[str, list[float]]:
        """Mean PSNR and SSIM by frame index."""
        keys = [key for key in self.rows[0] if key.startswith(("psnr_", "ssim_"))]
        frames = sorted({row["frame"] for row in self.rows})
        return {key: [float(np.mean([r[key] for r in self.rows if r["frame"] == f])) for f in frames] for key in keys}

    def frechet(self) -> dict[str, float]:
        """Fréchet distance of each source's features to the recorded frames'."""
        whole = {name: np.concatenate(parts) for name, parts in self.features.items()}
        return {name: frechet_distance(whole[REAL], whole[name]) for name in whole if name != REAL}
