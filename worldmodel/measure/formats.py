"""What fewer bits of weights or of the KV cache cost: how far the logits move, and what that does to the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from kernels.sampling import GREEDY
from worldmodel.engine.cuda.frame_step import FrameStep
from worldmodel.engine.cuda.graph import GraphDecoder
from worldmodel.engine.cuda.weights import matrix_bytes, with_stored_weights
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.training.world import targets_of

INT8_CACHE = "int8 cache"


@dataclass(frozen=True, slots=True)
class FormatCost:
    """One format beside the model's own float32 weights, on the same windows with the true tokens before.

    bytes: of the matrices that every pass reads, or of the cache if that is what has the format; loss: nats a token;
    loss_change: loss minus that of float32, and loss_change_error its standard error over the windows (the same
    windows: what differs between windows, which is far more, cancels; 0 where there is one window);
    logit_error: root mean square of the logits' change over that of the logits, both without their mean over the
    codes (a shift changes no probability); logit_error_max: the largest change; divergence: Kullback-Leibler, nats a
    token, from float32; same_choice: share of tokens whose most likely code is the same.
    """

    bytes: int
    loss: float
    loss_change: float
    loss_change_error: float
    logit_error: float
    logit_error_max: float
    divergence: float
    same_choice: float


class _Sums:
    """Sums over tokens of one format's differences, in float64."""

    def __init__(self) -> None:
        self.tokens = 0
        self.losses: list[float] = []  # of each window
        self.error = self.spread = self.largest = self.divergence = self.same = 0.0

    def add(self, logits: Tensor, reference: Tensor, target: Tensor) -> None:
        """One window, all of equal size. logits, reference: (N, codes); target: (N,)."""
        logits, reference = logits.double(), reference.double()
        logits, reference = logits - logits.mean(-1, keepdim=True), reference - reference.mean(-1, keepdim=True)
        change = logits - reference
        self.tokens += len(target)
        self.losses.append(F.cross_entropy(logits, target).item())
        self.error += change.square().mean(-1).sum().item()
        self.spread += reference.square().mean(-1).sum().item()
        self.largest = max(self.largest, change.abs().max().item())
        log_p, log_q = reference.log_softmax(-1), logits.log_softmax(-1)
        self.divergence += F.kl_div(log_q, log_p, reduction="sum", log_target=True).item()
        self.same += (logits.argmax(-1) == reference.argmax(-1)).sum().item()


class _Int8Cache:
    """The model's logits over an int8 ring cache: the decode path itself, with the true tokens forced."""

    def __init__(self, model: VisualActionTransformer, tokenizer: ImageTokenizer) -> None:
        self.decoder = GraphDecoder(FrameStep(model, tokenizer, cache8=True), graph=False)
        ring = self.decoder.step.ring
        assert ring.key_scales is not None, "an int8 cache has scales"
        self.bytes = 2 * (ring.keys.nbytes + ring.key_scales.nbytes)

    def __call__(self, window: Tensor, action: Tensor) -> Tensor:
        tokens, actions = window[0].cpu().numpy(), action[0].cpu().numpy()
        self.decoder.open([tokens[0]], [])
        rows = []
        for frame in range(1, len(tokens)):
            logits = self.decoder.decode(actions[frame - 1], GREEDY, 0, frame, forced=tokens[frame])[1]
            assert logits is not None, "forced decoding gives logits"
            rows.append(torch.from_numpy(logits))
        return torch.stack(rows)[None].to(window.device)


@torch.no_grad()
def format_costs(
    model: VisualActionTransformer, tokenizer: ImageTokenizer, tokens: Tensor, actions: Tensor, formats: list[str]
) -> dict[str, FormatCost]:
    """tokens: int64 (windows, T, places); actions: int64 (windows, T, 11) -> the cost of "float32", of each format, and
    of an INT8_CACHE under float32 weights.

    model: float32 weights, on any device. Every format sees the same inputs; nothing is sampled.
    """
    device = model.lm_head.weight.device
    stored = {"float32": model, **{format: with_stored_weights(model, format) for format in formats}}
    cache = _Int8Cache(model, tokenizer)
    models: dict[str, Callable[[Tensor, Tensor], Tensor]] = {**stored, INT8_CACHE: cache}
    sizes = {**{name: matrix_bytes(kept) for name, kept in stored.items()}, INT8_CACHE: cache.bytes}
    sums = {name: _Sums() for name in models}
    for window, action in zip(tqdm(tokens, desc="weight formats", unit="window"), actions, strict=True):
        window, action = window[None].to(device), action[None].to(device)
        target = targets_of(window, model).flatten()
        reference = model(window, action).flatten(0, 2)
        for name, run in models.items():
            sums[name].add(reference if run is model else run(window, action).flatten(0, 2), reference, target)
    plain = np.array(sums["float32"].losses)
    changes = {name: np.array(s.losses) - plain for name, s in sums.items()}
    return {
        name: FormatCost(
            bytes=sizes[name],
            loss=float(np.mean(s.losses)),
            loss_change=float(changes[name].mean()),
            loss_change_error=float(changes[name].std(ddof=1) / len(plain) ** 0.5) if len(plain) > 1 else 0.0,
            logit_error=(s.error / s.spread) ** 0.5,
            logit_error_max=s.largest,
            divergence=s.divergence / s.tokens,
            same_choice=s.same / s.tokens,
        )
        for name, s in sums.items()
    }
