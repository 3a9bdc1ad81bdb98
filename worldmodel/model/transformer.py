"""The visual-action transformer: Llama layout as plain architecture. No sampling, no cache, no I/O.

One function computes a layer over any attention (`Layer.forward` takes a callable), so that training, the
full recomputation and the decode passes share every line of arithmetic. Inputs are summed embeddings from one
table of image and action tokens (see WorldModelConfig for the optional ones).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldmodel.config import WorldModelConfig
from worldmodel.model.layout import BlockLayout
from worldmodel.model.parts import digit_rows, rows_of, split
from worldmodel.model.released import angles, causal
from worldmodel.model.rotary import rotary_table, rotate
from worldmodel.tokenizers.action import TOKENS_PER_ACTION

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(q (B, T, H, D), k (B, T, Hkv, D), v (B, T, Hkv, D)), rotated -> (B, T, H, D)."""
WholeClips = Callable[["VisualActionTransformer", int, torch.device], Attention]
"""Makes the attention of the training pass, of clips of so many frames."""


MASKED = -1e9  # added to the score of a key that is not seen


class RMSNorm(nn.Module):
    """Root-mean-square normalisation in float32 (arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(torch.promote_types(self.weight.dtype, x.dtype))  # FSDP may send it in bf16
        return F.rms_norm(x, (x.shape[-1],), weight, self.eps)


class Layer(nn.Module):
    """Attention and SwiGLU, each behind an RMSNorm and added to the stream. (B, T, hidden) -> same."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        t = config.transformer
        self.heads, self.kv_heads, self.head_dim = t.heads, t.kv_heads, t.head_dim
        self.input_layernorm = RMSNorm(t.hidden, t.norm_eps)
        self.q_proj = nn.Linear(t.hidden, t.heads * t.head_dim, bias=False)
        self.k_proj = nn.Linear(t.hidden, t.kv_heads * t.head_dim, bias=False)
        self.v_proj = nn.Linear(t.hidden, t.kv_heads * t.head_dim, bias=False)
        self.o_proj = nn.Linear(t.heads * t.head_dim, t.hidden, bias=False)
        self.post_attention_layernorm = RMSNorm(t.hidden, t.norm_eps)
        self.gate_proj = nn.Linear(t.hidden, t.mlp, bias=False)
        self.up_proj = nn.Linear(t.hidden, t.mlp, bias=False)
        self.down_proj = nn.Linear(t.mlp, t.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attention: Attention) -> Tensor:
        B, T, _ = x.shape
        h = self.input_layernorm(x)
        q = rotate(self.q_proj(h).view(B, T, self.heads, self.head_dim), cos, sin)
        k = rotate(self.k_proj(h).view(B, T, self.kv_heads, self.head_dim), cos, sin)
        v = self.v_proj(h).view(B, T, self.kv_heads, self.head_dim)
        x = x + self.o_proj(attention(q, k, v).reshape(B, T, -1))
        h = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


class VisualActionTransformer(nn.Module):
    """Embeddings, layers, head. `embed_*` build inputs, `logits` reads image logits off. whole_clips: WindowAttention,
    or one of its twins, FlexAttention and CompiledAttention."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.layout = BlockLayout(config.decode_order())
        t = config.transformer
        self.codes = config.image_tokenizer.codebook_size
        self.parts = config.image_tokenizer.parts  # in which a token is read and predicted
        self.signs = set(self.parts) == {2}
        rows = sum(self.parts)
        self.first_action = rows  # row of the first action token
        self.embed_tokens = nn.Embedding(rows + config.action_tokenizer().size, t.hidden)
        self.start = nn.Parameter(torch.zeros(t.hidden))
        self.place = nn.Parameter(torch.zeros(self.layout.length, t.hidden)) if t.place_embedding else None
        self.no_previous = nn.Parameter(torch.zeros(t.hidden)) if t.previous_frame else None
        self.previous_proj = nn.Linear(t.hidden, t.hidden, bias=False) if t.previous_frame else None
        self.action_proj = nn.Linear(t.hidden, t.hidden, bias=False) if t.action_input else None
        self.layers = nn.ModuleList([Layer(config) for _ in range(t.layers)])
        self.norm = RMSNorm(t.hidden, t.norm_eps)
        self.lm_head = nn.Linear(t.hidden, rows, bias=False)
        # What a token's parts say of those behind them, all in one pass: rows of all but the last, columns of all but
        # the first.
        self.chain = nn.Parameter(torch.zeros(rows - self.parts[-1], rows - self.parts[0])) if self.parts[1:] else None
        self.apply(self._initialise)
        for layer in self.layers:  # residual branches scaled by depth (GPT-2)
            assert isinstance(layer, Layer)
            for branch in (layer.o_proj, layer.down_proj):
                nn.init.normal_(branch.weight, std=0.02 / (2 * t.layers) ** 0.5)
        nn.init.normal_(self.start, std=0.02)
        self.whole_clips: WholeClips = WindowAttention
        self._through: dict[tuple[int, torch.device], tuple[Attention, Tensor, Tensor]] = {}

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def embed_codes(self, tokens: Tensor) -> Tensor:
        """Image tokens (...) -> (..., hidden): the sum of their parts' rows."""
        if not self.signs:
            return reduce(torch.add, map(self.embed_tokens, rows_of(tokens, self.parts)))
        # The same: a product with what setting each sign adds is quicker than as many rows a token.
        off, on = self.embed_tokens.weight[: sum(self.parts)].unflatten(0, (-1, 2)).unbind(1)
        with torch.autocast(tokens.device.type, enabled=False):  # as exact as rows are
            return torch.stack(split(tokens, self.parts), -1).to(on.dtype) @ (on - off) + off.sum(0)

    def embed_actions(self, tokens: Tensor) -> Tensor:
        """Action tokens (...), which count from the number of image codes -> (..., hidden)."""
        return self.embed_tokens(tokens - self.codes + self.first_action)

    def embed_image(self, tokens: Tensor, previous: Tensor | None, action: Tensor | None) -> Tensor:
        """Inputs of a frame's image slots.

        tokens: (..., places) of this frame; previous: the same of the frame before, or None; action: the
        (..., 11) tokens that led here, or None. -> (..., image, hidden). Places that are not decoded yet may
        hold any token: no slot reads a place of its own or a later group.
        """
        device = tokens.device
        places = torch.from_numpy(self.layout.places).to(device)
        sources = torch.from_numpy(self.layout.sources).to(device)
        x = self.embed_codes(tokens[..., sources.clamp_min(0)])
        x = torch.where((sources < 0).unsqueeze(-1), self.start.to(x.dtype), x)
        if self.place is not None:
            x = x + self.place[: self.layout.image]
        if self.previous_proj is not None and self.no_previous is not None:
            if previous is None:
                x = x + self.no_previous
            else:
                x = x + self.previous_proj(self.embed_codes(previous[..., places]))
        if self.action_proj is not None and action is not None:
            x = x + self.action_proj(self.embed_actions(action).sum(-2)).unsqueeze(-2)
        return x

    def embed_outro(self, tokens: Tensor, action: Tensor) -> Tensor:
        """Inputs of a block's last slots. tokens: (..., places) of the finished frame; action: (..., 11) the
        action taken on it. -> (..., outro, hidden)."""
        tail = torch.from_numpy(self.layout.tail).to(tokens.device)
        x = torch.cat([self.embed_codes(tokens[..., tail]), self.embed_actions(action)], -2)
        return x + self.place[self.layout.image :] if self.place is not None else x

    def embed_blocks(self, tokens: Tensor, actions: Tensor) -> Tensor:
        """tokens (B, T, places), actions (B, T, 11) (action t is taken on frame t) -> (B, T, length, hidden)."""
        first = self.embed_image(tokens[:, :1], None, None)
        rest = self.embed_image(tokens[:, 1:], tokens[:, :-1], actions[:, :-1])
        return torch.cat([torch.cat([first, rest], 1), self.embed_outro(tokens, actions)], 2)

    def run(
        self, x: Tensor, cos: Tensor, sin: Tensor, attentions: list[Attention], inputs: list[Tensor] | None = None
    ) -> Tensor:
        """All layers and the final norm. x: (B, T, hidden); one attention a layer; inputs: is given what each layer
        gets. -> (B, T, hidden)."""
        for layer, attention in zip(self.layers, attentions, strict=True):
            if inputs is not None:
                inputs.append(x)
            x = layer(x, cos, sin, attention)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., hidden) -> logits (..., sum(parts)) of a token's parts, one after the other, without what the first say
        of the later (`chain`)."""
        return self.lm_head(hidden)

    def told(self, logits: Tensor, digits: Sequence[Tensor]) -> Tensor:
        """Logits (n, sum(parts)) of tokens whose parts are `digits` (n,), each with what those before it say."""
        if self.chain is None:
            return logits
        number = torch.repeat_interleave(torch.arange(len(self.parts)), torch.tensor(self.parts)).to(logits.device)
        chain = self.chain.float() * (number[: len(self.chain), None] < number[self.parts[0] :])
        if self.signs:  # the same as below: a product is quicker than as many rows
            off, on = chain.unflatten(0, (-1, 2)).unbind(1)
            more = torch.stack(list(digits[:-1]), -1).float() @ (on - off) + off.sum(0)
        else:
            more = reduce(torch.add, [F.embedding(rows, chain) for rows in digit_rows(digits[:-1], self.parts)])
        return logits + F.pad(more, (self.parts[0], 0))

    def nats(self, logits: Tensor, tokens: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Negative log-likelihood of image tokens (...) under logits (..., sum(parts)) -> float32 (...). wanted: logits
        of the same shape: the cross-entropy with their distribution instead, each part given the token's before it."""
        digits = split(tokens.flatten(), self.parts)
        with torch.autocast(tokens.device.type, enabled=False):
            scores = self.told(logits.flatten(0, -2).float(), digits)
            aims = None if wanted is None else self.told(wanted.flatten(0, -2).float(), digits)
        if self.signs:  # the same as below, of all at once
            truth = torch.stack(digits, -1).float() if aims is None else torch.sigmoid(self._odds(aims))
            nats = F.binary_cross_entropy_with_logits(self._odds(scores), truth, reduction="none").sum(-1)
            return nats.view(tokens.shape)
        truths = digits if aims is None else [torch.softmax(aim, -1) for aim in aims.split(self.parts, -1)]
        pairs = zip(scores.split(self.parts, -1), truths, strict=True)
        nats = [F.cross_entropy(part, truth, reduction="none") for part, truth in pairs]
        return torch.stack(nats).sum(0).view(tokens.shape)

    @staticmethod
    def _odds(scores: Tensor) -> Tensor:
        """Of signs (..., 2 * signs), log-odds (..., signs) of being on."""
        return scores.unflatten(-1, (-1, 2)).diff(dim=-1)[..., 0]

    def guessed(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """bool (...): whether every part's likeliest is right, given the true ones before it. Shapes as for `nats`."""
        digits = split(tokens.flatten(), self.parts)
        parts = self.told(logits.flatten(0, -2).float(), digits).split(self.parts, -1)
        right = [part.argmax(-1) == digit for part, digit in zip(parts, digits, strict=True)]
        return torch.stack(right).all(0).view(tokens.shape)

    def forward(self, tokens: Tensor, actions: Tensor, first: int = 1, inputs: list[Tensor] | None = None) -> Tensor:
        """Training pass over whole clips: each frame attends to those that its `offsets` reach.

        tokens: (B, T, places) int64; actions: (B, T, 11) int64. Returns logits (B, T - first, image, codes) of
        frames first..T-1, slots in decode order: slot s predicts the token at place layout.places[s]. inputs: see run.
        """
        if self.layout.order.released:
            return self.released(tokens, actions, first)
        through = self.through(self.embed_blocks(tokens, actions), inputs)
        return self.logits(through[:, first:, : self.layout.image])

    def released(self, tokens: Tensor, actions: Tensor, first: int) -> Tensor:
        """As forward, of the one sequence that released weights read (see released.py); the last action is not read.
        ValueError for a clip that is longer than the context."""
        B, T, P = tokens.shape
        longest = self.config.transformer.window
        if longest < T:
            raise ValueError(f"a clip of {T} frames is longer than the context of {longest}")
        block = P + TOKENS_PER_ACTION
        x = torch.cat([self.embed_codes(tokens), self.embed_actions(actions)], 2).flatten(1, 2)[:, : T * block - 1]
        cos, sin = angles(self.config, longest * block, x.device)
        hidden = self.run(x, cos[: x.shape[1]], sin[: x.shape[1]], [causal] * len(self.layers))
        starts = torch.arange(first, T, device=x.device)[:, None] * block - 1
        places = torch.from_numpy(self.layout.places).to(x.device)
        return self.logits(hidden[:, (starts + places).flatten()]).view(B, T - first, P, -1)

    def through(self, x: Tensor, inputs: list[Tensor] | None = None) -> Tensor:
        """Inputs of whole clips' blocks (B, T, length, hidden) -> what comes of them, under the window's mask."""
        B, T, L, _ = x.shape
        if (T, x.device) not in self._through:  # the same for every step of a training: made once
            tables = rotary_table(self.config, self.layout, np.arange(T))
            cos, sin = (torch.from_numpy(table).to(x.device).flatten(0, 1) for table in tables)
            self._through = {(T, x.device): (self.whole_clips(self, T, x.device), cos, sin)}
        attention, cos, sin = self._through[T, x.device]
        return self.run(x.flatten(1, 2), cos, sin, [attention] * len(self.layers), inputs).view(B, T, L, -1)


class WindowAttention:
    """Attention over whole clips: each block sees the blocks that lie `offsets` before it, and itself, by rank.

    Each block's keys are gathered from those only, so that the cost grows with T * (the number of offsets).
    """

    def __init__(self, model: VisualActionTransformer, frames: int, device: torch.device) -> None:
        offsets = [offset for offset in model.config.transformer.offsets if offset < frames]
        self.attended = len(offsets) + 1
        self.frames, self.length = frames, model.layout.length
        self.groups = model.config.transformer.heads // model.config.transformer.kv_heads
        own = torch.from_numpy(model.layout.mask).to(device)
        index = torch.arange(frames, device=device)[:, None] - torch.tensor([*reversed(offsets), 0], device=device)
        exists = (index >= 0).repeat_interleave(self.length, 1)  # (T, attended * L)
        past = torch.ones(self.length, len(offsets) * self.length, dtype=torch.bool, device=device)
        seen = exists[:, None, :] & torch.cat([past, own], 1)[None]
        self.bias = torch.zeros(seen.shape, device=device).masked_fill(~seen, MASKED)  # (T, L, attended * L)
        self.index = index.clamp_min(0)
        self.masks: dict[torch.dtype, Tensor] = {}

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        B, _, H, D = q.shape
        T, L, W, G = self.frames, self.length, self.attended, self.groups
        # Query heads that share a key head are packed as rows: (B*T, Hkv, G*L, D).
        q = q.view(B * T, L, H // G, G, D).permute(0, 2, 3, 1, 4).reshape(B * T, H // G, G * L, D)

        def windows(x: Tensor) -> Tensor:  # (B, T*L, Hkv, D) -> (B*T, Hkv, W*L, D)
            x = x.view(B, T, L, H // G, D)[:, self.index]
            return x.reshape(B * T, W * L, H // G, D).transpose(1, 2)

        # float32 too is rounded to bf16 under autocast: the layers' rotations leave it.
        q, k, v = (x.to(self.dtype(x)) for x in (q, windows(k), windows(v)))
        out = self.attend(q, k, v)
        return out.view(B * T, H // G, G, L, D).permute(0, 3, 1, 2, 4).reshape(B, T * L, H, D)

    def mask(self, heads: int, dtype: torch.dtype) -> Tensor:
        """The bias for `heads` key heads: (1, T * heads, groups * L, attended * L), its rows apart as the library's
        kernels like it (a multiple of 16)."""
        if dtype not in self.masks:
            rows = self.bias.repeat(1, self.groups, 1).repeat_interleave(heads, 0).to(dtype)
            width = rows.shape[-1]
            self.masks[dtype] = F.pad(rows, (0, -width % 16))[None, ..., :width]
        return self.masks[dtype]

    @staticmethod
    def dtype(x: Tensor) -> torch.dtype:
        kind = x.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """On a CPU, plain products with a softmax that the compiler fuses: three times as fast as the
        library's masked attention there (forward and backward, bf16). Elsewhere, the library's."""
        if q.device.type != "cpu":
            # The frames of a clip as heads, so that one mask serves all clips of the batch uncopied.
            shape, mask = q.shape, self.mask(q.shape[1], q.dtype).expand(len(q) // self.frames, -1, -1, -1)
            q, k, v = (x.reshape(len(mask), -1, *x.shape[2:]) for x in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).view(shape)
        scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
        shape = scores.shape
        scores = scores.view(-1, self.frames, shape[1], self.groups, self.length, shape[3])
        share = torch.softmax(scores + self.bias[None, :, None, None], -1)
        return share.view(shape).to(v.dtype) @ v
