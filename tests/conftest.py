"""Shared fixtures: a tiny world model, tiny VPT clips. Everything on the CPU, seeded, quick."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait slow a busy machine sixfold
import torch

from kernels.native_build import NativeError, build
from worldmodel.config import ImageTokenizerConfig, TransformerConfig, WorldModelConfig
from worldmodel.engine.host.native import best_path
from worldmodel.model.loading import save_starts, save_world_model
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import StartScene

# A program that is started with signals ignored (nohup, a shell's background) hands that on to all that it starts.
for _number, _usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

ROOT = Path(__file__).resolve().parent.parent  # of the repository
TINY_TOKENIZER = ImageTokenizerConfig(
    height=48,
    width=80,
    levels=(4, 4),
    encoder_channels=(16, 16),
    encoder_blocks=(1, 1),
    decoder_channels=(16, 16),
    decoder_blocks=(1, 1),
)


def tiny_config(
    order: str = "diagonal-1", offsets: tuple[int, ...] = (1, 2), **transformer: object
) -> WorldModelConfig:
    sizes = {"hidden": 32, "mlp": 48, "layers": 3, "heads": 4, "kv_heads": 2, "head_dim": 16, "offsets": offsets}
    return WorldModelConfig(TINY_TOKENIZER, TransformerConfig(**{**sizes, **transformer}), order)  # type: ignore[arg-type]


def tiny_tokenizer(**changes: object) -> ImageTokenizer:
    """One whose image decoder makes pictures of every code: a new one's residual blocks do nothing."""
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(replace(TINY_TOKENIZER, **changes)).eval().requires_grad_(False)  # type: ignore[arg-type]
    for parameter in tokenizer.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return tokenizer


def with_detail(config: WorldModelConfig) -> WorldModelConfig:
    """The same with a second code of 6 values a token."""
    return replace(config, image_tokenizer=replace(config.image_tokenizer, detail_levels=(3, 2)))


def with_signs(config: WorldModelConfig) -> WorldModelConfig:
    """The same with tokens of 20 signs, more than 16 bits hold, and a fine camera."""
    image = replace(config.image_tokenizer, quantizer="binary", bits=20)
    return replace(config, image_tokenizer=image, fine_camera=True)


def tiny_transformer(config: WorldModelConfig, seed: int = 0) -> VisualActionTransformer:
    """Random weights of a size at which every input matters (the training initialisation is nearly linear)."""
    torch.manual_seed(seed)
    model = VisualActionTransformer(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        shared = parameter.ndim == 1 or parameter is model.chain or parameter.shape[0] == model.layout.length
        torch.nn.init.normal_(parameter, std=0.5 if shared else parameter.shape[-1] ** -0.5)
    return model


def random_steps(config: WorldModelConfig, frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """tokens int32 (frames, places), actions int32 (frames, 11)."""
    rng = np.random.default_rng(seed)
    image, actions = config.image_tokenizer, config.action_tokenizer()
    tokens = rng.integers(0, image.codebook_size, (frames, image.tokens_per_frame), dtype=np.int32)
    return tokens, rng.integers(actions.base, actions.vocabulary - 2, (frames, 11), dtype=np.int32)


def vpt_line(**changes: object) -> dict:
    """One line of a VPT jsonl. dx, dy, buttons, new_buttons, keys, hotbar, gui."""
    get = changes.get
    return {
        "mouse": {
            "x": 0.0,
            "y": 0.0,
            "dx": get("dx", 0.0),
            "dy": get("dy", 0.0),
            "dwheel": 0.0,
            "buttons": get("buttons", []),
            "newButtons": get("new_buttons", []),
        },
        "keyboard": {"keys": get("keys", []), "newKeys": [], "chars": ""},
        "hotbar": get("hotbar", 0),
        "isGuiOpen": get("gui", False),
    }


def write_clip(path: Path, lines: list[dict], frames: int | None = None, height: int = 96, width: int = 160) -> Path:
    """Writes `<path>.mp4` and `<path>.jsonl`. Frame t is a ramp whose brightness is 2 * t (modulo 256)."""
    frames = len(lines) if frames is None else frames
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path.with_suffix(".mp4")), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "10", "preset": "ultrafast"}
        ramp = np.linspace(0, 60, width)[None, :, None] + np.linspace(0, 60, height)[:, None, None]
        for index in range(frames):
            picture = np.broadcast_to((ramp + 2 * index) % 256, (height, width, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
    path.with_suffix(".jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path.with_suffix(".mp4")


@pytest.fixture(autouse=True, scope="session")
def _compiled() -> None:
    """What plays by default does not depend on how long the first compilation takes beside other tests."""
    with contextlib.suppress(NativeError):
        build(best_path())


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A checkpoint folder of random weights with three start scenes."""
    path = tmp_path_factory.mktemp("tiny")
    config = tiny_config()
    save_world_model(path, config, ImageTokenizer(config.image_tokenizer), tiny_transformer(config))
    scenes = []
    for seed in range(3):
        tokens, actions = random_steps(config, 3, seed)
        scenes.append(StartScene(tokens, actions[:2]))
    save_starts(path, scenes)
    return path
