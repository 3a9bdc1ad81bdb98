"""The operations of a frame on a device, by libraries (PyTorch, cuBLAS). A CUDA graph can hold all of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.sampling_device import Settings, sample_device, uniforms_device
from kernels.weight_only import StoredWeight, linear
from worldmodel.engine.cuda.ring import CHUNK, Ring
from worldmodel.model.rotary import rotate
from worldmodel.tokenizers.image import to_frames


class LibraryOps:
    """needs_bias: whether `attention` reads the additive mask (else it knows the rule); use: our kernels in it."""

    needs_bias = True
    use: frozenset[str] = frozenset()

    def masked(self) -> LibraryOps:
        """The same operations, with an attention that reads the additive mask."""
        return self

    def linear(self, x: Tensor, weight: Tensor | StoredWeight, added: Tensor | None = None) -> Tensor:
        """x: (n, in); weight: (out, in) -> x weight^T + added, (n, out)."""
        if isinstance(weight, StoredWeight):
            return linear(x, weight) if added is None else linear(x, weight) + added
        return F.linear(x, weight) if added is None else torch.addmm(added, x, weight.T)

    def rotate_and_store(
        self, qkv: Tensor, cos: Tensor, sin: Tensor, targets: Tensor, ring: Ring, layer: int
    ) -> Tensor:
        """Rotates queries and keys, writes keys and values to the ring. qkv: (n, (H + 2 Hkv) D) -> q (n, H, D)."""
        kv, D = ring.keys.shape[1], ring.keys.shape[3]
        heads = qkv.view(len(qkv), -1, D)
        turned = rotate(heads[:, :-kv], cos, sin)
        ring.write(layer, targets, turned[:, -kv:], heads[:, -kv:])
        return turned[:, :-kv]

    def attention(self, q: Tensor, ring: Ring, layer: int, bias: Tensor | None, stop: int, outro: int) -> Tensor:
        """q: (n, H, D) -> (n, H D). Products over parts of the ring (split-K), with one softmax over all of them;
        query heads that share a key head are packed as rows."""
        assert bias is not None, "the library's attention needs the mask"
        n, H, D = q.shape
        kv, positions = ring.keys.shape[1], bias.shape[1]
        G, S = H // kv, positions // CHUNK
        rows = q.view(n, kv, G, D).permute(1, 2, 0, 3).reshape(kv, 1, G * n, D) * D**-0.5
        keys, values = (part.view(kv, S, CHUNK, D) for part in ring.read(layer, positions))
        # (rows or 1, positions) -> (S, G n or 1, CHUNK)
        mask = bias.view(len(bias), S, CHUNK).transpose(0, 1)
        if len(bias) > 1:
            mask = mask.repeat(1, G, 1)
        scores = (rows @ keys.transpose(-1, -2)).float() + mask  # (Hkv, S, G n, CHUNK)
        share = torch.exp(scores - scores.amax((1, 3), keepdim=True))
        total = share.sum((1, 3))  # (Hkv, G n)
        mixed = (share.to(values.dtype) @ values).float().sum(1) / total.unsqueeze(-1)
        return mixed.view(kv, G, n, D).permute(2, 0, 1, 3).reshape(n, H * D).to(q.dtype)

    def swiglu(self, gate_up: Tensor) -> Tensor:
        """(n, 2 mlp) -> (n, mlp)."""
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate) * up

    def uniforms(self, settings: Settings, count: int) -> Tensor:
        """The random numbers of all places of a frame: float32 (count,)."""
        return uniforms_device(settings, torch.arange(count, device=settings.integers.device))

    def sample(self, logits: Tensor, settings: Settings, drawn: Tensor, places: Tensor, known: Tensor) -> None:
        """logits: float32 (n, codes); drawn: (P,); places: int64 (n,): known[places] becomes what is sampled."""
        known.index_copy_(0, places, sample_device(logits, settings, drawn[places]))

    def to_rgb(self, pixels: Tensor, picture: Tensor) -> None:
        """pixels: (3, H, W) in [-1, 1] -> picture: uint8 (H, W, 3)."""
        picture.copy_(to_frames(pixels[None])[0])
