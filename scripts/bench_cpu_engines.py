"""Times the CPU engines on one model, side by side in one run: native on each path, OpenVINO, eager PyTorch.

    python scripts/bench_cpu_engines.py --checkpoint worldmodel/pretrained/nano --out benchmarks/cpu_engines.json
    python scripts/write_tables.py

A frame of each in turn, so that a busy machine is shared fairly: the ratio to OpenVINO is that of neighbours. Frames
are guided unless --no-guided. --preset takes random weights instead. ONNX Runtime, if it is in --engines, runs the
same pass, exported from the eager module (pip install onnx onnxruntime onnxscript): to choose by, not shipped.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kernels.native_build import own_paths
from kernels.sampling import Sampler
from worldmodel.checkpoint import weights_hash
from worldmodel.config import PRESETS
from worldmodel.data.frames import write_json
from worldmodel.engine.choice import eager_pixels
from worldmodel.engine.decoder import Array, Backend, Decoder, FrameDecoder, InputTables, Pass, ring_entries
from worldmodel.engine.host.eager import EagerBackend
from worldmodel.engine.host.native import NativeDecoder, compile_problem, default_threads, native_problem
from worldmodel.engine.host.native_pictures import NativePainter
from worldmodel.engine.host.openvino import MASKED, OpenVinoBackend, OpenVinoPainter
from worldmodel.engine.host.openvino_graphs import pass_widths
from worldmodel.measure.provenance import device_name
from worldmodel.measure.random_play import random_transformer
from worldmodel.measure.speed import quartiles
from worldmodel.model.loading import WorldModel, load_starts, load_world_model
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.script import main_with_errors
from worldmodel.tokenizers.action import TOKENS_PER_ACTION
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import Action, StartScene, WorldModelError


@dataclass(frozen=True)
class Arguments:
    """What is measured."""

    checkpoint: Path = Path("worldmodel/pretrained/nano")
    """Folder of a world model."""
    preset: str = ""
    """Random weights of a preset, instead of a checkpoint."""
    out: Path = Path("benchmarks/cpu_engines.json")
    """File for the figures."""
    engines: tuple[str, ...] = ()
    """Each of them makes a frame in turn: native (or native-PATH), openvino, openvino-int8, eager, onnxruntime. None:
    native on every path that this processor has, and all others but onnxruntime."""
    frames: int = 60
    """Frames of each."""
    threads: int = 0
    """CPU threads; 0 is all cores."""
    guided: bool = True
    """Two lanes a frame, as with a key held."""


class ExportedPass(nn.Module):
    """One pass with its cache as inputs, for export: (x, cos, sin, past, own, keys, values) -> logits, new keys
    and values (layers, kv_heads, width, head_dim). Masks are additive."""

    def __init__(self, model: VisualActionTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, past: Tensor, own: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        t = self.model.config.transformer
        groups, mask = t.heads // t.kv_heads, torch.cat([past, own], 1)
        new_keys, new_values = [], []

        def attention(layer: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
            def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                k, v = k[0].transpose(0, 1), v[0].transpose(0, 1)
                new_keys.append(k)
                new_values.append(v)
                q = q[0].transpose(0, 1).reshape(t.kv_heads, -1, t.head_dim) * t.head_dim**-0.5
                scores = q @ torch.cat([keys[layer], k], 1).transpose(1, 2) + mask.repeat(groups, 1)
                mixed = torch.softmax(scores, -1) @ torch.cat([values[layer], v], 1)
                return mixed.reshape(t.heads, -1, t.head_dim).transpose(0, 1)[None]

            return attend

        hidden = self.model.run(x[None], cos, sin, [attention(index) for index in range(t.layers)])
        return self.model.logits(hidden[0]), torch.stack(new_keys), torch.stack(new_values)


class OnnxBackend:
    """ONNX Runtime behind the same Backend protocol."""

    name = "onnxruntime"

    def __init__(self, model: VisualActionTransformer, threads: int) -> None:
        import onnxruntime  # pyright: ignore[reportMissingImports] - not shipped

        t, layout = model.config.transformer, model.layout
        self.ring = ring = ring_entries(model)
        self.keys = np.zeros((t.layers, t.kv_heads, ring, t.head_dim), np.float32)
        self.values = np.zeros_like(self.keys)
        self.sessions: dict[int, object] = {}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        names = ["x", "cos", "sin", "past", "own", "keys", "values"]
        for width in pass_widths(layout):
            half = t.head_dim // 2
            shapes = [(width, t.hidden), (width, half), (width, half), (width, ring), (width, width)]
            example = tuple(torch.zeros(shape) for shape in [*shapes, self.keys.shape, self.keys.shape])
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder) / "pass.onnx")
                torch.onnx.export(ExportedPass(model), example, path, input_names=names, opset_version=18, dynamo=True)
                self.sessions[width] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self, one: Pass) -> Array:
        n = len(one.x)
        width = min(w for w in self.sessions if w >= n)

        def padded(array: NDArray[np.floating], fill: float = 0.0) -> Array:
            out = np.full((width, array.shape[1]), fill, np.float32)
            out[:n] = array
            return out

        mask = np.zeros((width, width), np.float32)
        mask[:, n:] = MASKED
        mask[:n, :n] = np.where(one.own, 0, MASKED)
        feed = {
            "x": padded(one.x),
            "cos": padded(one.cos),
            "sin": padded(one.sin),
            "past": padded(np.where(one.past, 0, MASKED), float(MASKED)),
            "own": mask,
            "keys": self.keys,
            "values": self.values,
        }
        out, keys, values = self.sessions[width].run(None, feed)  # type: ignore[attr-defined]
        row = 0
        for part in one.slots:
            count = part.stop - part.start
            self.keys[:, :, part] = keys[:, :, row : row + count]
            self.values[:, :, part] = values[:, :, row : row + count]
            row += count
        return out[one.logits]


def _engines(args: Arguments) -> tuple[str, ...]:
    """Those that are measured, "native" with its path."""
    paths = own_paths()
    asked = args.engines or (*(f"native-{path}" for path in paths), "openvino", "openvino-int8", "eager")
    return tuple(f"native-{paths[0]}" if name == "native" else name for name in asked)


def _decoder(name: str, model: WorldModel, threads: int) -> Decoder:
    """WorldModelError for an engine that is unknown or not to be had."""
    backends: dict[str, Callable[[], Backend]] = {
        "eager": lambda: EagerBackend(model.transformer),
        "openvino": lambda: OpenVinoBackend(model.transformer, threads),
        "openvino-int8": lambda: OpenVinoBackend(model.transformer, threads, int8=True),
        "onnxruntime": lambda: OnnxBackend(model.transformer, threads),
    }
    paths = [f"native-{path}" for path in own_paths()]
    if name in paths:
        if problem := native_problem(model.config):
            raise WorldModelError(f"the native engine cannot be had: {problem}; leave it out of --engines")
        return NativeDecoder(model.transformer, threads, path=name.removeprefix("native-"))
    if name not in backends:
        raise WorldModelError(f"no engine {name!r} here; there are native, {', '.join((*paths, *backends))}")
    return FrameDecoder(model.config, InputTables.of(model.transformer), backends[name]())


def _model(args: Arguments) -> tuple[WorldModel, StartScene]:
    """The model, and what its context is opened with."""
    if not args.preset:
        model = load_world_model(args.checkpoint)
        return model, load_starts(args.checkpoint, model.config)[0]
    if args.preset not in PRESETS:
        raise WorldModelError(f"no preset {args.preset!r}; known are {', '.join(PRESETS)}")
    config = PRESETS[args.preset]
    tokenizer = ImageTokenizer(config.image_tokenizer).eval().requires_grad_(False)
    transformer = random_transformer(config, torch.device("cpu"), torch.float32)
    tokens = np.random.default_rng(0).integers(
        0, config.image_tokenizer.codebook_size, (1, config.image_tokenizer.tokens_per_frame), dtype=np.int32
    )
    return WorldModel(config, tokenizer, transformer), StartScene(tokens, np.zeros((0, TOKENS_PER_ACTION), np.int32))


def summary(times: list[float]) -> dict[str, float]:
    p50, p95 = np.percentile(np.asarray(times) * 1e3, [50, 95])
    return {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2)}


def main(args: Arguments) -> None:
    threads = args.threads or default_threads()
    torch.set_num_threads(threads)
    model, scene = _model(args)
    walk = model.config.action_tokenizer().encode(Action(frozenset({"forward"}), yaw=3.0))
    sampler = Sampler(guidance=0.5 if args.guided else 0.0)
    decoders = {name: _decoder(name, model, threads) for name in _engines(args)}
    for decoder in decoders.values():
        decoder.open(list(scene.tokens), list(scene.actions))
        for index in range(model.config.transformer.window):  # fill the context
            decoder.decode(walk, sampler, 0, index)
    seconds: dict[str, list[float]] = {name: [] for name in decoders}
    for index in range(args.frames):
        for name, decoder in decoders.items():
            began = time.perf_counter()
            decoder.decode(walk, sampler, 0, index)
            seconds[name].append(time.perf_counter() - began)
    painters = {"eager": eager_pixels(model.tokenizer), "openvino": OpenVinoPainter(model.tokenizer, threads)}
    if not compile_problem(None):
        painters["native"] = NativePainter(model.tokenizer, threads)
    pictures: dict[str, list[float]] = {name: [] for name in painters}
    for _ in range(args.frames):
        for name, paint in painters.items():
            began = time.perf_counter()
            paint(scene.tokens[-1])
            pictures[name].append(time.perf_counter() - began)

    result: dict[str, object] = {
        "machine": {"cpu": device_name(torch.device("cpu")), "threads": threads},
        "date": time.strftime("%Y-%m-%d"),
        "checkpoint_sha256": None if args.preset else weights_hash(args.checkpoint),
        "preset": args.preset or None,
        "order": model.config.order,
        "passes_a_frame": model.config.decode_order().passes,
        "guided": args.guided,
        "frames": args.frames,
        "tokens_of_a_frame": {name: summary(times) for name, times in seconds.items()},
        "image_decoder": {name: summary(times) for name, times in pictures.items()},
    }
    if "openvino" in seconds:  # by pairs: each frame and the one beside it, pictures included
        frames = {name: np.asarray(times) + _picture(name, pictures) for name, times in seconds.items()}
        result["times_openvino"] = {name: quartiles(frames["openvino"] / times) for name, times in frames.items()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, result)
    print(args.out.read_text())


def _picture(engine: str, pictures: dict[str, list[float]]) -> float:
    """Seconds of the picture that is made beside an engine's tokens."""
    kind = "native" if engine.startswith("native") else engine if engine in pictures else "openvino"
    return float(np.median(pictures[kind]))


if __name__ == "__main__":
    main_with_errors(main, Arguments)
