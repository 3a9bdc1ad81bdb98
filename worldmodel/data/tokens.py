"""Token store: clips as memory-mapped image tokens and action tokens, with a manifest naming the tokenizer.

Layout: `<name>.tokens.npy` (T, tokens a frame), uint16, or uint32 where that is too small; `<name>.actions.npy` int32
(T, 11), `<name>.segments.npy` int32 (T,). Each is written atomically; a killed build goes on. Tokens of another
tokenizer are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from worldmodel.checkpoint import SHORT_HASH, module_hash
from worldmodel.config import WorldModelConfig
from worldmodel.data.frames import STORE_FORMAT, StoredClip, check_manifest, is_current
from worldmodel.data.windows import Windows
from worldmodel.locking import building
from worldmodel.tokenizers.action import ActionTokenizer
from worldmodel.tokenizers.image import ImageTokenizer, to_pixels
from worldmodel.writing import written


@dataclass(frozen=True, slots=True)
class TokenClip:
    """tokens: uint16 or uint32 (T, places), memory-mapped; actions: int32 (T, 11); segments: int32 (T,)."""

    name: str
    tokens: NDArray[np.unsignedinteger]
    actions: NDArray[np.int32]
    segments: NDArray[np.int32]


def as_stored(codes: torch.Tensor, tokenizer: ImageTokenizer) -> NDArray[np.unsignedinteger]:
    """Image tokens in the fewest bytes that hold any of the tokenizer's."""
    small = tokenizer.config.codebook_size <= 1 << 16
    return codes.cpu().numpy().astype(np.uint16 if small else np.uint32)


def save_array(path: Path, array: NDArray[np.generic]) -> None:
    with written(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


@torch.no_grad()
def build_token_store(
    clips: Sequence[StoredClip],
    tokenizer: ImageTokenizer,
    config: WorldModelConfig,
    frames: Path,
    device: torch.device,
    bf16: bool = False,
) -> list[TokenClip]:
    """Encodes every clip's frames and actions, then opens them. Done clips are skipped.

    frames: the frame store that they were opened from. Each tokenizer has a folder in it, which all runs share that
    encode alike.
    bf16: several times as fast where the processor has bf16 units, for 1 to 2% of the tokens another code (a near one).
    """
    hashed = module_hash(tokenizer)
    camera = "legacy" if config.legacy_camera else "fine" if config.fine_camera else "bins"
    out = frames / "-".join(("tokens", hashed[:SHORT_HASH], camera, *(["bf16"] if bf16 else [])))
    with building(out):
        check_manifest(out, {"format": STORE_FORMAT, "tokenizer": hashed}, "tokens")
        _encode(clips, tokenizer, config.action_tokenizer(), frames, out, device, bf16)
    return [
        TokenClip(
            clip.name,
            np.load(out / f"{clip.name}.tokens.npy", mmap_mode="r", allow_pickle=False),
            np.load(out / f"{clip.name}.actions.npy", allow_pickle=False),
            np.load(out / f"{clip.name}.segments.npy", allow_pickle=False),
        )
        for clip in clips
    ]


def _encode(
    clips: Sequence[StoredClip],
    tokenizer: ImageTokenizer,
    actions: ActionTokenizer,
    frames: Path,
    out: Path,
    device: torch.device,
    bf16: bool,
) -> None:
    todo = [
        clip for clip in clips if not is_current(out / f"{clip.name}.segments.npy", frames / f"{clip.name}.actions.npz")
    ]
    with tqdm(total=sum(len(clip.frames) for clip in todo), desc="encoding frames", unit="frame") as bar:
        for clip in todo:
            rows = []
            for start in range(0, len(clip.frames), 64):
                part = torch.from_numpy(np.array(clip.frames[start : start + 64])).to(device)
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    codes = tokenizer.encode(to_pixels(part))
                rows.append(as_stored(codes, tokenizer))
                bar.update(len(part))
            save_array(out / f"{clip.name}.tokens.npy", np.concatenate(rows))
            save_array(
                out / f"{clip.name}.actions.npy", np.stack([actions.encode(action) for action in clip.actions()])
            )
            save_array(out / f"{clip.name}.segments.npy", clip.segments)  # last: its presence means "done"


class Drawn(NamedTuple):
    """Windows: int64 tokens (batch, length, places), int64 actions (batch, length, 11)."""

    tokens: torch.Tensor
    actions: torch.Tensor


class WindowSampler(Windows):
    """Draws windows of token clips (see Windows)."""

    def __init__(self, clips: Sequence[TokenClip], length: int, balance: float = 0.0) -> None:
        super().__init__(clips, length, balance)
        self.stored = clips

    def draw(self, batch: int, rng: np.random.Generator, share: range | None = None) -> Drawn:
        """share: which of the batch's windows are read, by default all; the same are drawn whatever it is."""
        picks = self.pick(batch, rng)
        return Drawn(*self._stack(picks if share is None else picks[share.start : share.stop]))

    def spread(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`count` windows evenly spread over everything: always the same ones, for validation. Tokens and actions."""
        return self._stack(np.linspace(0, len(self.starts) - 1, min(count, len(self.starts))).astype(int))

    def _place(self, pick: np.integer) -> tuple[int, slice]:
        clip, start = self.starts[int(pick)]
        return clip, slice(start, start + self.length)

    def _stack(self, picks: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        places = [self._place(pick) for pick in picks]
        tokens = np.stack([self.stored[clip].tokens[part].astype(np.int64) for clip, part in places])
        actions = np.stack([self.stored[clip].actions[part].astype(np.int64) for clip, part in places])
        return torch.from_numpy(tokens), torch.from_numpy(actions)
