"""One whole frame as operations on tensors that never move: from action tokens to RGB bytes, without a host sync.

It has two halves, so that the second may run beside the next frame's first: `FrameStep.frame` makes the tokens, and
`FrameStep.paint` the picture of those in `shown`. Each only reads and writes static tensors and takes no decision on
the host, so that a CUDA graph can hold all of it (cuda_graph.py); run as it stands, on any device, it is the graph's
eager twin. It computes what FrameDecoder does over EagerBackend; a test compares the tokens. Single operations, by
libraries or by our kernels, are in ops.py.

The ring has room for `window` + 1 frames, so that a frame's first pass may write its keys before the outro of the
frame before has read those of the frame that leaves the window. Slot of block b: b % (window + 1), on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.sampling import Sampler
from kernels.sampling_device import Settings, guide_device
from kernels.weight_only import StoredWeight, store
from worldmodel.engine.cuda.ops import LibraryOps
from worldmodel.engine.cuda.ring import Ring
from worldmodel.engine.decoder import InputTables
from worldmodel.model.rotary import rotary_axes
from worldmodel.model.transformer import Layer, VisualActionTransformer
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import Tokens


@dataclass(frozen=True)
class LayerWeights:
    """A layer's matrices, those that are applied to the same input joined: (out, in) each."""

    norm: Tensor
    qkv: Tensor | StoredWeight
    output: Tensor | StoredWeight
    post_norm: Tensor
    gate_up: Tensor | StoredWeight
    down: Tensor | StoredWeight
    eps: float

    @staticmethod
    def of(layer: Layer, bits8: str = "") -> LayerWeights:
        """bits8: "int8" or "fp8" for 8-bit matrices. Else the layer's own become views of the joined ones: nothing is
        held twice."""

        def joined(*parts: nn.Linear) -> Tensor | StoredWeight:
            whole = torch.cat([part.weight.detach() for part in parts])
            if bits8:
                return store(whole, bits8)
            for part, view in zip(parts, whole.split([len(part.weight) for part in parts]), strict=True):
                part.weight.data = view
            return whole

        return LayerWeights(
            layer.input_layernorm.weight,
            joined(layer.q_proj, layer.k_proj, layer.v_proj),
            joined(layer.o_proj),
            layer.post_attention_layernorm.weight,
            joined(layer.gate_proj, layer.up_proj),
            joined(layer.down_proj),
            layer.input_layernorm.eps,
        )


@dataclass(frozen=True)
class Pass:
    """The static facts of one decode pass. outro: rows of the frame before, which come first; part: image slots;
    sources: (n,) index into the known tokens; begins: bool (n, 1), where it is the start embedding instead, or None:
    nowhere; places: (n,)."""

    outro: int
    part: slice
    sources: Tensor
    begins: Tensor | None
    places: Tensor


class FrameStep:
    """All state of a frame loop on one device.

    action: int64 (11,); known: int64 (P,) the last frame's tokens;
    shown: int64 (P,) the tokens of the picture; picture: uint8 (H, W, 3) on the device; settings: the sampler's, seed
    and frame number. bits8: "", "int8" or "fp8", of the weights; cache8: whether the ring cache is int8; guided:
    whether there is room for the second lane of guided frames (see FrameDecoder).
    """

    def __init__(
        self,
        model: VisualActionTransformer,
        tokenizer: ImageTokenizer,
        ops: LibraryOps | None = None,
        bits8: str = "",
        cache8: bool = False,
        guided: bool = True,
    ) -> None:
        config, layout = model.config, model.layout
        weight = model.lm_head.weight
        self.config, self.layout, self.device = config, layout, weight.device
        self.dtype = weight.dtype
        self.tokenizer, self.ops = tokenizer, ops or LibraryOps()
        self.layers = [LayerWeights.of(layer, bits8) for layer in model.layers]  # pyright: ignore[reportArgumentType]
        self.norm = model.norm.weight
        self.head = store(weight, bits8) if bits8 else weight.detach()
        self.ring = Ring.empty(config, layout, self.device, self.dtype, cache8, guided)

        def placed(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

        tables = InputTables.of(model)
        self.table, self.start = placed(tables.tokens), placed(tables.start)
        self.place, self.no_previous = placed(tables.place), placed(tables.no_previous)
        self.previous = None if tables.previous is None else placed(tables.previous)
        self.action_table = None if tables.action is None else placed(tables.action)
        self.parts, self.chain = model.parts, None if tables.chain is None else placed(tables.chain)
        # Where the tokens' parts are drawn to: like `known`, at the numbers that key their randomness.
        self.drawn = torch.zeros(len(self.parts), layout.image, dtype=torch.int64, device=self.device)
        self.radices = placed(np.cumprod([1, *self.parts[:-1]])[:, None])
        self.sizes = placed(np.array(self.parts)[:, None])
        self.rows = placed(np.cumsum([0, *self.parts[:-1]])[:, None])  # where each part's begin
        self.action_shift = model.codes - model.first_action  # from an action token's row to its id
        self.places, self.tail = placed(layout.places), placed(layout.tail)
        sources, begins = placed(layout.sources.clip(0)), layout.sources < 0
        self.whole = Pass(0, slice(0, layout.image), sources, placed(begins[:, None]), self.places)
        self.passes = [
            Pass(
                layout.outro if i == 0 else 0,
                part,
                sources[part],
                placed(begins[part, None]) if begins[part].any() else None,
                self.places[part],
            )
            for i, part in enumerate(layout.group_slots)
        ]
        self.rotary = [placed(array) for array in rotary_axes(config, layout)]
        self.action = torch.zeros(layout.outro - len(layout.tail), dtype=torch.int64, device=self.device)
        self.idle = torch.zeros_like(self.action)  # that guided frames are guided away from
        self.idle_targets = self.ring.idle_targets if guided else None
        self.known = torch.zeros(layout.image, dtype=torch.int64, device=self.device)
        self.settings = Settings.empty(self.device)
        image = config.image_tokenizer
        self.shown = torch.zeros(layout.image, dtype=torch.int64, device=self.device)
        self.picture = torch.zeros(image.height, image.width, 3, dtype=torch.uint8, device=self.device)

    @torch.inference_mode()
    def open(self, frames: list[Tokens], actions: list[Tokens]) -> None:
        """As FrameDecoder.open: one wide pass a frame and one an outro. Host code, never captured."""
        if len(frames) < 1 or len(actions) != len(frames) - 1:
            raise ValueError(f"a context of n frames has n - 1 actions, got {len(frames)} and {len(actions)}")
        kept = min(self.config.transformer.window, len(frames))
        frames, actions = frames[-kept:], actions[len(actions) - kept + 1 :]
        self.ring.reset()
        whole = slice(0, self.layout.image)
        own = torch.from_numpy(self.layout.mask[whole, whole]).to(self.device)  # by rank
        for index, tokens in enumerate(frames):
            if index:
                self.action.copy_(torch.from_numpy(actions[index - 1].astype(np.int64)))
                cos, sin, targets = self._ending()
                outro = self._outro(self.action)
                self.wide(outro, cos, sin, targets, self.ring.bias(self.layout.length))
                base = self._base(self.action)
            else:
                base = self.place[: self.layout.image] + self.no_previous
            self.ring.advance()
            self.known.copy_(torch.from_numpy(tokens.astype(np.int64)))
            x = self._inputs(self.whole) + base
            cos, sin = self._rotary()
            self.wide(x, cos[whole], sin[whole], self.ring.targets[whole], self.ring.block_bias(own))

    def frame(self, forced: Tensor | None = None, logits: list[Tensor] | None = None, guided: bool = False) -> None:
        """One frame's tokens: reads action, settings and the state, writes known. Capturable if forced is None.

        forced: int64 (P,) tokens to decode with; logits: where to put those of each pass, (n, codes); guided: with the
        idle lane, as rows of the same passes.
        """
        assert not guided or self.idle_targets is not None, "this step has one lane"
        lanes = [self.action, self.idle] if guided else [self.action]
        outros, bases = [self._outro(lane) for lane in lanes], [self._base(lane) for lane in lanes]
        outro_cos, outro_sin, *outro_targets = self._ending()
        self.ring.advance()
        cos, sin = self._rotary()
        targets = [self.ring.targets]
        if self.idle_targets is not None and guided:
            targets.append(self.idle_targets)
            outro_targets.append(self.idle_targets[self.layout.image :])
        ops = self.ops.masked() if guided else self.ops
        drawn = ops.uniforms(self.settings, self.drawn.numel())
        for step in self.passes:
            part, n, bias = step.part, len(step.places), None
            outro = outros if step.outro else []
            given = self._inputs(step)
            x = _joined([*outro, *(given + base[part] for base in bases)])
            x_cos = _joined([*([outro_cos] * len(outro)), *([cos[part]] * len(lanes))])
            x_sin = _joined([*([outro_sin] * len(outro)), *([sin[part]] * len(lanes))])
            entries = _joined([*(outro_targets if outro else []), *(lane[part] for lane in targets)])
            if guided:
                bias = self.ring.lanes_bias(part.stop, step.outro, n, self.layout.image)
            elif ops.needs_bias:
                bias = self.ring.bias(part.stop, step.outro, len(x))
            hidden = self._layers(ops, x, x_cos, x_sin, entries, bias, part.stop, step.outro * len(lanes))
            scores = ops.linear(hidden, self.head).float()
            if guided:
                scores = guide_device(scores[:n], scores[n:], self.settings)
            if logits is not None:
                logits.append(scores)
            if forced is not None:
                self.known.index_copy_(0, step.places, forced[step.places])
            else:
                self._sample(ops, scores, drawn, step.places)

    def _sample(self, ops: LibraryOps, scores: Tensor, drawn: Tensor, places: Tensor) -> None:
        """known[places] becomes what is drawn. Twin of sampling.sample_parts."""
        image, flat = self.layout.image, self.drawn.view(-1)
        if self.chain is None:
            ops.sample(scores, self.settings, drawn, places, self.known)
            return
        base = 0
        for number, size in enumerate(self.parts):
            ops.sample(scores[:, :size].contiguous(), self.settings, drawn, places + number * image, flat)
            if size < scores.shape[-1]:
                behind = self.chain[:, base + size - self.parts[0] :]
                scores = scores[:, size:] + F.embedding(base + self.drawn[number, places], behind)
            base += size
        self.known.index_copy_(0, places, (self.radices * self.drawn[:, places]).sum(0))

    def paint(self) -> None:
        """The picture of the shown tokens. It touches nothing else of the state."""
        pixels = self.tokenizer.decode(self.shown[None])
        self.ops.to_rgb(pixels[0], self.picture)

    def wide(self, x: Tensor, cos: Tensor, sin: Tensor, targets: Tensor, bias: Tensor) -> None:
        """A pass of any width, for its keys and values alone: by the library's operations."""
        self._layers(LibraryOps(), x, cos, sin, targets, bias, 0, 0)

    def _layers(
        self,
        ops: LibraryOps,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        targets: Tensor,
        bias: Tensor | None,
        stop: int,
        outro: int,
    ) -> Tensor:
        """All layers and the final norm. x: float32 (n, hidden); cos, sin: float32 (n, D/2); targets: int64 (n,) ring
        entries; bias: (n or 1, ring); stop, outro: what the bias says in two numbers. -> (n - outro, hidden)."""
        t = self.config.transformer
        x = x.to(self.dtype)
        for index, w in enumerate(self.layers):
            qkv = ops.linear(F.rms_norm(x, (t.hidden,), w.norm, w.eps), w.qkv)
            q = ops.rotate_and_store(qkv, cos, sin, targets, self.ring, index)
            mixed = ops.attention(q, self.ring, index, bias, stop, outro)
            x = ops.linear(mixed, w.output, x)
            gate_up = ops.linear(F.rms_norm(x, (t.hidden,), w.post_norm, w.eps), w.gate_up)
            x = ops.linear(ops.swiglu(gate_up), w.down, x)
        return F.rms_norm(x[outro:], (t.hidden,), self.norm, t.norm_eps)

    def set_sampler(self, sampler: Sampler, seed: int, frame: int) -> None:
        self.settings.set(sampler, seed, frame)

    def _ending(self) -> tuple[Tensor, Tensor, Tensor]:
        """Angles and ring entries of the current block's last slots, before the ring advances."""
        ending = slice(self.layout.image, self.layout.length)
        cos, sin = self._rotary()
        return cos[ending], sin[ending], self.ring.targets[ending].clone()

    def _codes(self, tokens: Tensor, table: Tensor) -> Tensor:
        """Rows of a table for image tokens int64 (n,): (n, hidden). Twin of InputTables.codes."""
        if len(self.parts) == 1:
            return F.embedding(tokens, table)
        return F.embedding(tokens // self.radices % self.sizes + self.rows, table).sum(0)

    def _inputs(self, step: Pass) -> Tensor:
        """What a pass's slots are fed of this frame: (n, hidden), float32."""
        known = self._codes(self.known[step.sources], self.table)
        return known if step.begins is None else torch.where(step.begins, self.start, known)

    def _outro(self, action: Tensor) -> Tensor:
        """Inputs of the current block's last slots: (outro, hidden), float32. action: int64 (11,)."""
        rows = [self._codes(self.known[self.tail], self.table), F.embedding(action - self.action_shift, self.table)]
        return torch.cat(rows) + self.place[self.layout.image :]

    def _base(self, action: Tensor) -> Tensor:
        """What the inputs of the next frame's image slots have beside the token: (image, hidden), float32."""
        base = self.place[: self.layout.image]
        if self.previous is not None:
            base = base + self._codes(self.known[self.places], self.previous)
        if self.action_table is not None:
            base = base + F.embedding(action - self.action_shift, self.action_table).sum(0)
        return base

    def _rotary(self) -> tuple[Tensor, Tensor]:
        """cos and sin, float32 (length, D/2), of the current block; angles in float64, as on the host."""
        positions, steps, frequencies = self.rotary
        angle = (positions + self.ring.block * steps).double() * frequencies
        return angle.cos().float(), angle.sin().float()


def _joined(parts: list[Tensor]) -> Tensor:
    """One after the other; a single one as it is, without a copy."""
    return torch.cat(parts) if len(parts) > 1 else parts[0]
