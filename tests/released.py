"""Made files in MineWorld's layout, of a tiny size, for the tests."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from worldmodel.config import ImageTokenizerConfig, TransformerConfig, WorldModelConfig

CODES, DIM, HIDDEN, MLP, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 40, 8, 32, 48, 2, 4, 2, 8
CHANNELS = (32, 32, 32, 64, 64)
HEIGHT, WIDTH = 48, 80  # 3 x 5 tokens


def released_config(order: str = "released-raster", window: int = 4, keep: int = 2, **changes) -> WorldModelConfig:
    image = ImageTokenizerConfig(
        height=HEIGHT, width=WIDTH, quantizer="nearest", vq_codes=CODES, vq_dim=DIM, pyramid=CHANNELS
    )
    transformer = TransformerConfig(
        hidden=HIDDEN,
        mlp=MLP,
        layers=LAYERS,
        heads=HEADS,
        kv_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        offsets=tuple(range(1, window)),
        rotary="sequence",
        rotary_theta=(10000.0,),
        previous_frame=False,
        action_input=False,
        place_embedding=False,
    )
    return WorldModelConfig(image, transformer, order, tick_rate=20.0, game="minecraft", keep=keep, **changes)


def _random(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return 1 + 0.2 * torch.randn(shape, generator=generator)
    return (
        torch.randn(shape, generator=generator)
        * (torch.Size(shape[1:]).numel() if len(shape) > 2 else shape[-1]) ** -0.5
    )


def tokenizer_tensors(seed: int = 0, channels: tuple[int, ...] = CHANNELS, dim: int = DIM) -> dict[str, torch.Tensor]:
    """A VQModel's tensors by name, written out: independent of how they are read."""
    names: dict[str, tuple[int, ...]] = {}

    def conv(name: str, out: int, inner: int, side: int = 3) -> None:
        names[f"{name}.weight"], names[f"{name}.bias"] = (out, inner, side, side), (out,)

    def resnet(name: str, inner: int, out: int) -> None:
        for number, (a, b) in enumerate(((inner, out), (out, out)), 1):
            names[f"{name}.norm{number}.weight"] = names[f"{name}.norm{number}.bias"] = (a,)
            conv(f"{name}.conv{number}", b, a)
        if inner != out:
            conv(f"{name}.conv_shortcut", out, inner, 1)

    for half, way, order, blocks in (("encoder", "down", channels, 2), ("decoder", "up", channels[::-1], 3)):
        before = order[0]
        for level, out in enumerate(order):
            for block in range(blocks):
                resnet(f"{half}.{way}_blocks.{level}.resnets.{block}", before if block == 0 else out, out)
            if level < len(order) - 1:
                conv(f"{half}.{way}_blocks.{level}.{way}samplers.0.conv", out, out)
            before = out
        for block in (0, 1):
            resnet(f"{half}.mid_block.resnets.{block}", channels[-1], channels[-1])
    conv("encoder.conv_in", channels[0], 3)
    conv("encoder.conv_out", dim, channels[-1])
    conv("decoder.conv_in", channels[-1], dim)
    conv("decoder.conv_out", 3, channels[0])
    for half, width in (("encoder", channels[-1]), ("decoder", channels[0])):
        names[f"{half}.conv_norm_out.weight"] = names[f"{half}.conv_norm_out.bias"] = (width,)
    conv("quant_conv", dim, dim, 1)
    conv("post_quant_conv", dim, dim, 1)
    names["quantize.embedding.weight"] = (CODES, dim)
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: _random(torch.Size(shape), generator) for name, shape in names.items()}
    return {name: t - 1 if t.ndim == 1 and name.endswith("bias") else t for name, t in tensors.items()}


def transformer_tensors(seed: int = 1, layers: int = LAYERS) -> dict[str, torch.Tensor]:
    """A Llama's tensors, by the names below `transformer.`"""
    kv, q = KV_HEADS * HEAD_DIM, HEADS * HEAD_DIM
    names: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (CODES + 70, HIDDEN)}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        names |= {
            f"{at}.self_attn.q_proj.weight": (q, HIDDEN),
            f"{at}.self_attn.k_proj.weight": (kv, HIDDEN),
            f"{at}.self_attn.v_proj.weight": (kv, HIDDEN),
            f"{at}.self_attn.o_proj.weight": (HIDDEN, q),
            f"{at}.mlp.gate_proj.weight": (MLP, HIDDEN),
            f"{at}.mlp.up_proj.weight": (MLP, HIDDEN),
            f"{at}.mlp.down_proj.weight": (HIDDEN, MLP),
            f"{at}.input_layernorm.weight": (HIDDEN,),
            f"{at}.post_attention_layernorm.weight": (HIDDEN,),
        }
    names |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (CODES + 70, HIDDEN)}
    generator = torch.Generator().manual_seed(seed)
    return {name: _random(torch.Size(shape), generator) for name, shape in names.items()}


def write_files(folder: Path, seed: int = 0) -> dict[str, Path]:
    """A model's .ckpt and .yaml, and a tokenizer's .ckpt and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = {f"model.{name}": tensor for name, tensor in tokenizer_tensors(seed).items()}
    whole = {f"transformer.{name}": tensor for name, tensor in transformer_tensors(seed + 1).items()}
    whole |= {f"tokenizer.{name}": tensor for name, tensor in tokenizer.items()}
    paths = {name: folder / name for name in ("model.ckpt", "vae.ckpt", "config.json", "model.yaml")}
    torch.save({"state_dict": whole, "epoch": 3}, paths["model.ckpt"])
    torch.save({"state_dict": tokenizer}, paths["vae.ckpt"])
    told = {"_class_name": "VQModel", "block_out_channels": CHANNELS, "layers_per_block": 2, "latent_channels": DIM}
    told |= {"num_vq_embeddings": CODES, "norm_num_groups": 32, "mid_block_add_attention": False, "act_fn": "silu"}
    paths["config.json"].write_text(json.dumps(told))
    paths["model.yaml"].write_text(
        "model:\n  target: lvm.LlamaLVM\n  params:\n    transformer_config:\n      target: x\n      params:\n"
        f"        hidden_size: {HIDDEN}\n        intermediate_size: {MLP}\n        num_hidden_layers: {LAYERS}\n"
        f"        num_attention_heads: {HEADS}\n        num_key_value_heads: {KV_HEADS}\n        rms_norm_eps: 1e-5\n"
        f"        max_position_embeddings: {4 * (15 + 11)}\n        rope_theta: 10000.0\n"
    )
    return paths
