"""One preset from recorded clips to a row of columns.

Every stage leaves a file in a folder that is named after all that it depends on: what is done is not done again, and
presets that share a stage (samplers over the same world) share its files. A killed run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from kernels.sampling import Sampler
from worldmodel.checkpoint import weights_hash
from worldmodel.data.frames import StoredClip, build_frame_store, open_frame_store, write_json
from worldmodel.data.hud import items_told, read_slot
from worldmodel.data.tokens import TokenClip, WindowSampler, save_array
from worldmodel.evaluation.following.episodes import Episode, pick_episodes
from worldmodel.evaluation.following.scores import add_up, as_told, count, score
from worldmodel.evaluation.metrics.picture import frechet_distance, psnr, sharpness, ssim
from worldmodel.lab import scores
from worldmodel.lab.autoencoder import MOVE, Condition, LabTokenizer
from worldmodel.lab.packing import Packing
from worldmodel.lab.presets import Variant
from worldmodel.lab.sequence import LabDecoder, LabTransformer, Prior, head_radices
from worldmodel.lab.table import DRAWN_SHARES, KEPT_SHARES, read_rows
from worldmodel.lab.train import HUD, Budget, move_vectors, moves_of, train_autoencoder, train_lab_world, train_prior
from worldmodel.measure.provenance import provenance
from worldmodel.readers.idm import InverseDynamicsModel, load_idm, read_actions
from worldmodel.tokenizers.action import ActionTokenizer, bin_to_camera, camera_bins
from worldmodel.tokenizers.image import to_frames, to_pixels
from worldmodel.training.idm import count_read, played
from worldmodel.types import WorldModelError

CHUNK = 32  # frames that a tokenizer takes at once
SCORED_EVERY = 4  # of the held-out frames, for the columns that need no neighbours
GLYPH_FRAMES = 40  # a size
SMALL_GLYPHS = 5  # pixels high, at most
TIMED = 20  # decodings of one frame

Columns = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Data:
    """Clips to train on and clips to score on; key: names them."""

    train: list[StoredClip]
    val: list[StoredClip]
    key: str


def open_data(train: Sequence[Path], val: Path, cache: Path, size: tuple[int, int], budget: Budget) -> Data:
    """Decodes a part of the clips, spread evenly over them, into `cache`; of those to score on, the first steps."""

    def opened(split: str, folders: Sequence[Path], most: int, n: int) -> list[StoredClip]:
        clips = open_frame_store(cache / split, build_frame_store(folders, cache / split, *size, most=most))
        return [StoredClip(c.name, c.frames[:n], c.buttons[:n], c.camera[:n], c.segments[:n]) for c in clips]

    clips = opened("train", train, budget.train_clips, budget.train_steps)
    held_out = opened("val", [val], budget.val_clips, budget.val_steps)
    return Data(clips, held_out, digest([[(c.name, len(c.frames)) for c in part] for part in (clips, held_out)]))


def digest(*values: Any) -> str:
    """A short name of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:12]


def chosen(part: Any) -> Any:
    """A part's values that are not defaults, as plain ones: a part that is added later renames no finished stage."""
    if isinstance(part, tuple | list):
        return [chosen(value) for value in part]
    if not is_dataclass(part) or isinstance(part, type):
        return part
    values = {}
    for field in fields(part):
        value = getattr(part, field.name)
        plain = field.default if field.default_factory is MISSING else field.default_factory()
        if value != plain:
            values[field.name] = chosen(value)
    return values


def stage(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The stage's result from its file, made and written now if it is not there. NaN is None: an empty column."""
    if not path.is_file():
        made = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in make().items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, made)
    return json.loads(path.read_text())


# --- tokenizer ---


Integers = NDArray[np.integer]


def condition_of(codes: Integers, moves: NDArray[np.float32], segments: Integers, at: Integers) -> Condition:
    """The condition of frames `at` of a clip: their predecessors' codes, unless a frame begins a segment."""
    before = np.maximum(at - 1, 0)
    known = (at > 0) & (segments[at] == segments[before])
    return Condition(*(torch.from_numpy(value) for value in (codes[before].astype(np.int64), moves[before], known)))


@torch.inference_mode()
def encode_clip(tokenizer: LabTokenizer, frames: NDArray[np.uint8]) -> NDArray[np.int32]:
    """uint8 (T, H, W, 3) -> codes (T, tokens)."""
    parts = [
        tokenizer.encode(to_pixels(torch.from_numpy(np.array(frames[at : at + CHUNK]))))
        for at in range(0, len(frames), CHUNK)
    ]
    return torch.cat(parts).numpy().astype(np.int32)


@torch.inference_mode()
def decode_clip(
    tokenizer: LabTokenizer,
    codes: Integers,
    moves: NDArray[np.float32],
    segments: Integers,
    every: int = 1,
    kept: int | None = None,
) -> NDArray[np.uint8]:
    """codes (T, tokens) of consecutive frames -> one in `every` of the frames, uint8 (N, H, W, 3)."""
    found, wanted = [], np.arange(0, len(codes), every)
    for start in range(0, len(wanted), CHUNK):
        at = wanted[start : start + CHUNK]
        own = torch.from_numpy(codes[at].astype(np.int64))
        found.append(to_frames(tokenizer.decode(own, condition_of(codes, moves, segments, at), kept)).numpy())
    return np.concatenate(found)


def clip_codes(
    tokenizer: LabTokenizer, clips: Sequence[StoredClip], folder: Path, desc: str
) -> list[NDArray[np.int32]]:
    folder.mkdir(parents=True, exist_ok=True)
    for clip in tqdm(clips, desc=desc, unit="clip"):
        if not (folder / f"{clip.name}.npy").is_file():
            save_array(folder / f"{clip.name}.npy", encode_clip(tokenizer, clip.frames))
    return [np.load(folder / f"{clip.name}.npy", allow_pickle=False) for clip in clips]


@torch.inference_mode()
def score_pictures(
    tokenizer: LabTokenizer,
    prior: Prior,
    clips: Sequence[StoredClip],
    codes: Sequence[NDArray[np.int32]],
    common: NDArray[np.int64],
    reader: InverseDynamicsModel | None,
) -> Columns:
    """The tokenizer's columns. common: the most frequent code of each place, for tokens that are missing."""
    found: dict[str, list[NDArray[Any]]] = defaultdict(list)
    counts, nats = [], []
    generator = torch.Generator().manual_seed(0)
    tokens = tokenizer.parts.tokens

    def add(name: str, values: NDArray[Any]) -> None:
        found[name].append(np.asarray(values, np.float64))

    for clip, own in zip(tqdm(clips, desc="scoring", unit="clip"), codes, strict=True):
        moves, real = moves_of(clip), np.array(clip.frames[::SCORED_EVERY])
        shown = partial(decode_clip, tokenizer, moves=moves, segments=clip.segments, every=SCORED_EVERY)
        made = shown(own)
        add("psnr", psnr(made, real))
        add("ssim", ssim(made, real))
        add("slots_read", read_slot(made, HUD) == read_slot(real, HUD))
        add("items_read", items_told(made, real, HUD))
        add("sharp_made", sharpness(made))
        add("sharp_real", sharpness(real))
        if reader is not None:
            counts.append(count_read(reader, played(clip, shown(own, every=1))))
        drawn = []
        for start in range(0, len(own), CHUNK):
            given = torch.from_numpy(own[start : start + CHUNK].astype(np.int64))
            vectors = tokenizer.quantizer.decode(given)
            drawn.append(prior.draw(vectors).numpy())
            nats.append(prior.loss(vectors, given).sum(1).numpy())
        other = np.concatenate(drawn)
        for share in DRAWN_SHARES:
            wrong = torch.rand(own.shape, generator=generator).numpy() < share
            add(f"psnr_drawn_{share:.0%}", psnr(shown(np.where(wrong, other, own)), real))
        for share in KEPT_SHARES:
            n = max(1, round(share * tokens))
            if tokenizer.absent is not None:
                cut = shown(own, kept=n)
            else:
                cut = shown(np.concatenate([own[:, :n], np.broadcast_to(common[n:], (len(own), tokens - n))], 1))
            add(f"psnr_kept_{share:.0%}", psnr(cut, real))
    columns: Columns = {name: float(np.concatenate(parts).mean()) for name, parts in found.items()}
    columns["sharpness_kept"] = (columns.pop("sharp_made") or 0.0) / max(columns.pop("sharp_real") or 0.0, 1e-9)
    columns["bits_prior"] = float(np.concatenate(nats).mean() / math.log(2))
    columns["f1_reconstructed"] = score(add_up(counts)).f1 if counts else None
    return columns


@torch.inference_mode()
def score_glyphs(tokenizer: LabTokenizer, frames: NDArray[np.uint8]) -> Columns:
    """Shares of pasted digits that are read, by size. frames: (N, H, W, 3)."""
    columns: Columns = {}
    for size in scores.GLYPH_SIZES:
        pasted, digits, places = scores.paste_glyphs(frames, size, np.random.default_rng(size))
        codes = encode_clip(tokenizer, pasted)
        cuts = np.arange(len(codes))  # no frame follows another
        made = decode_clip(tokenizer, codes, np.zeros((len(codes), MOVE), np.float32), cuts)
        columns[f"glyphs_{size}"] = float((scores.read_glyphs(made, places, size) == digits).mean())
    by_size = np.array(list(columns.values()), np.float64)
    small = np.array(scores.GLYPH_SIZES) <= SMALL_GLYPHS
    return {**columns, "glyphs_small": float(by_size[small].mean()), "glyphs_large": float(by_size[~small].mean())}


def score_codes(tokenizer: LabTokenizer, clips: Sequence[StoredClip], codes: Sequence[NDArray[np.int32]]) -> Columns:
    """Flicker of the grid's codes, Zipf slope, perplexity, and bits a frame as they are stored."""
    every = np.concatenate([part.ravel() for part in codes])
    rows, columns = tokenizer.grid
    grid = rows * columns
    flickers = [
        scores.flicker(own[:, -grid:].reshape(-1, rows, columns), clip.frames, clip.segments)
        for clip, own in zip(clips, codes, strict=True)
        if tokenizer.parts.grid
    ]
    return {
        "flicker": scores.mean_or_nan([value for value in flickers if value == value]),
        "zipf_slope": scores.zipf_slope(every),
        "perplexity": scores.perplexity(every),
        "bits": tokenizer.parts.tokens * math.log2(tokenizer.quantizer.codebook_size),
    }


@torch.inference_mode()
def decoder_ms(tokenizer: LabTokenizer, codes: NDArray[np.int32]) -> float:
    """Median milliseconds of one frame's decoding, eagerly."""
    given, times = torch.from_numpy(codes[:1].astype(np.int64)), []
    for _ in range(TIMED):
        started = time.perf_counter()
        tokenizer.decode(given)
        times.append(time.perf_counter() - started)
    return float(np.median(times) * 1000)


# --- world ---


def token_clips(
    clips: Sequence[StoredClip], codes: Sequence[NDArray[np.int32]], radices: Sequence[int], packing: Packing
) -> list[TokenClip]:
    """A world model's token clips. radices: of a token's digits."""
    encode, size = ActionTokenizer(sum(packing.radices(radices))).encode, math.prod(radices)
    found = []
    for clip, own in zip(clips, codes, strict=True):
        actions = np.stack([encode(action) for action in clip.actions()])
        packed = packing.pack(own, clip, size)
        found.append(TokenClip(clip.name, packed, actions, clip.segments))  # type: ignore[arg-type]
    return found


@torch.inference_mode()
def world_bits(model: LabTransformer, clips: Sequence[TokenClip], length: int, count: int) -> float:
    """Bits a frame on held-out windows."""
    tokens, actions = WindowSampler(clips, length).spread(count)
    nats = [model.loss(t[None], a[None], t[None]).sum(-1).mean().item() for t, a in zip(tokens, actions, strict=True)]
    return float(np.mean(nats) / math.log(2))


def pictures_of(
    tokenizer: LabTokenizer, packing: Packing, made: NDArray[np.int32], episode: Episode, context: int
) -> NDArray[np.uint8]:
    """Frames (n + 1, H, W, 3) of the last context frame's tokens and of the n generated ones."""
    packed = np.concatenate([episode.tokens[context - 1 : context], made])
    codes = packing.unpack(packed, tokenizer.quantizer.codebook_size)
    bins = camera_bins(episode.actions)
    camera = np.array([[bin_to_camera(int(index)) for index in row] for row in bins])
    moves = move_vectors(episode.held, camera)[context - 1 :]
    return decode_clip(tokenizer, codes, moves, np.zeros(len(codes), np.int32))


def play(
    decoder: LabDecoder,
    episodes: Sequence[Episode],
    frames: int,
    context: int,
    sampler: Sampler,
    path: Path,
    desc: str,
) -> NDArray[np.int32]:
    """Tokens (episodes, frames, places) that follow each one's context, side by side; read from `path` if they are
    there. An episode that ends earlier goes on with its last action."""
    if path.is_file():
        return np.load(path, allow_pickle=False)
    steps = [np.minimum(np.arange(context - 1 + frames), len(episode.actions) - 1) for episode in episodes]
    actions = np.stack([episode.actions[at] for episode, at in zip(episodes, steps, strict=True)])
    decoder.open(np.stack([episode.tokens[:context] for episode in episodes]), actions[:, : context - 1])
    made = [
        decoder.decode(actions[:, context - 1 + number], sampler, 0, number)[0]
        for number in tqdm(range(frames), desc=desc, unit="frame")
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_array(path, np.stack(made, 1))
    return np.stack(made, 1)


def turns_away(clips: Sequence[StoredClip], stored: Sequence[TokenClip], budget: Budget) -> list[Episode]:
    """Stretches that look away and back, each with the context before it."""
    found, before = [], budget.context - 1
    for clip, own in zip(clips, stored, strict=True):
        segments = clip.segments
        places = [
            (first, last)
            for first, last in scores.looks_away(clip.camera, segments, budget.away_steps)
            if first >= before and segments[first - before] == segments[first]
        ]
        for first, last in places[: -(-budget.away // len(clips))]:
            part = slice(first - before, last + 1)
            tokens = own.tokens[part].astype(np.int32)
            found.append(Episode(clip.name, first, clip.frames[part], tokens, own.actions[part], clip.buttons[part]))
    return found


def score_world(
    variant: Variant,
    tokenizer: LabTokenizer,
    model: LabTransformer,
    clips: Sequence[StoredClip],
    stored: Sequence[TokenClip],
    reader: InverseDynamicsModel | None,
    budget: Budget,
    folder: Path,
) -> Columns:
    """The world model's columns; rollouts are kept as tokens in `folder`."""
    decoder, n, context = LabDecoder(model), budget.episode_frames, budget.context
    made_psnr, repeat_psnr, counts, features = [], [], [], {"real": [], "made": []}
    episodes = pick_episodes(list(zip(clips, stored, strict=True)), budget.episodes, context + n)
    every = play(decoder, episodes, n, context, variant.sampler, folder / "rollouts.npy", "rollouts")
    for episode, made in zip(episodes, every, strict=True):
        shown, real = pictures_of(tokenizer, variant.packing, made, episode, context), episode.frames[context - 1 :]
        made_psnr.append(psnr(shown[1:], real[1:]).mean())
        repeat_psnr.append(psnr(real[1:], real[:1]).mean())
        if reader is not None:
            read = read_actions(reader, shown)
            led = slice(context - 1, context - 1 + n)
            told = as_told(episode.held[led])
            counts.append(count(told, read.held, camera_bins(episode.actions[led]), read.bins))
            features["made"].append(read.features)
            features["real"].append(read_actions(reader, real).features)
    away, turns = [], turns_away(clips, stored, budget)
    if turns:
        frames = max(len(turn.frames) for turn in turns) - context
        every = play(decoder, turns, frames, context, variant.sampler, folder / "away.npy", "looking away")
        for turn, made in zip(turns, every, strict=True):
            own = made[: len(turn.frames) - context]
            shown = pictures_of(tokenizer, variant.packing, own, turn, context)
            away.append(float(psnr(shown[-1:], turn.frames[-1:])[0]))
    whole = {name: np.concatenate(parts) for name, parts in features.items() if parts}
    return {
        "bits_world": world_bits(model, stored, budget.world_clip, budget.episodes),
        "rollout_psnr": float(np.mean(made_psnr)),
        "rollout_over_repeat": float(np.mean(made_psnr) - np.mean(repeat_psnr)),
        "f1_rollouts": score(add_up(counts)).f1 if counts else None,
        "frechet": frechet_distance(whole["real"], whole["made"]) if whole else None,
        "away_psnr": scores.mean_or_nan(away),
        "passes": float(model.layout.order.passes * (2 if model.blocks.redo else 1)),
        "frame_ms": frame_ms(decoder, episodes[0], context, variant.sampler),
    }


def frame_ms(decoder: LabDecoder, episode: Episode, context: int, sampler: Sampler) -> float:
    """Median milliseconds of a frame's tokens, of one session, eagerly."""
    tokens, actions = episode.tokens[None, :context], episode.actions[None]
    decoder.open(tokens, actions[:, : context - 1])
    times = []
    for number in range(min(TIMED // 2, actions.shape[1] - context + 1)):
        started = time.perf_counter()
        decoder.decode(actions[:, context - 1 + number], sampler, 0, number)
        times.append(time.perf_counter() - started)
    return float(np.median(times) * 1000)


# --- a preset ---


def measure(
    variant: Variant,
    data: Data,
    reader: InverseDynamicsModel | None,
    reader_key: str,
    out: Path,
    budget: Budget,
    seed: int,
) -> Columns:
    """All columns of a variant, from what is done already on."""
    head_radices(variant.head, [part.codebook_size for part in variant.tokenizer.codes])  # refuses before any work
    sizes = asdict(budget)
    steps = {name: sizes[name] for name in sizes if name.startswith(("tokenizer_", "train_", "bf16"))}
    aligned = reader_key if variant.objectives.align > 0 else ""
    learned = (chosen(variant.tokenizer), chosen(variant.objectives), variant.head, steps, seed, data.key, aligned)
    folder = out / f"tokenizer-{digest(*learned)}"
    tokenizer = train_autoencoder(
        variant.tokenizer, variant.objectives, variant.head, budget, data.train, reader, folder, seed
    )
    codes = clip_codes(tokenizer, data.train, folder / "codes" / "train", "encoding")
    held_out = clip_codes(tokenizer, data.val, folder / "codes" / f"val-{data.key}", "encoding")
    packing = variant.packing
    scored = digest(sizes, data.key, reader_key)

    def pictures() -> dict[str, Any]:
        prior = train_prior(
            codes, tokenizer.quantizer, variant.head, budget, folder / f"prior-{budget.prior_steps}", seed
        )
        frames = np.concatenate([clip.frames[:: len(data.val)] for clip in data.val])
        some = frames[np.linspace(0, len(frames) - 1, min(GLYPH_FRAMES, len(frames))).astype(int)]
        torch.manual_seed(seed)
        common = scores.common_codes(np.concatenate(codes))
        return {
            **score_pictures(tokenizer, prior, data.val, held_out, common, reader),
            **score_glyphs(tokenizer, some),
            **score_codes(tokenizer, data.val, held_out),
            "decoder_ms": decoder_ms(tokenizer, held_out[0]),
        }

    columns = stage(folder / f"scores-{scored}.json", pictures)
    lengths = [sizes[f"world_{name}"] for name in ("steps", "batch", "clip")]
    parts = {**chosen(variant.blocks), **chosen(packing), **({"fed_codes": True} if variant.fed_codes else {})}
    head = variant.world_head or variant.head
    if head != variant.head:
        parts["head"] = head
    world = digest(chosen(variant.transformer), variant.noise_told, *lengths, *([parts] if parts else []))
    stages = [f"world-{world}", *([f"world-{world}-{variant.tuned}"] if variant.tuned else [])]
    radices = head_radices(head, tokenizer.quantizer.radices)

    def rollouts() -> dict[str, Any]:
        thinned, thin = (
            [packing.thinned(own, clip, tokenizer.grid) for own, clip in zip(part, clips, strict=True)]
            for part, clips in ((codes, data.train), (held_out, data.val))
        )
        train, model = token_clips(data.train, thinned, radices, packing), None
        for name in stages:
            model = train_lab_world(
                variant.tokenizer.table, tokenizer.quantizer, head, variant.transformer, variant.noise_told,
                variant.blocks, packing, variant.fed_codes, budget, train, folder / name, seed,
                model, model is not None and variant.tuned == "actions",
            )  # fmt: skip
        assert model is not None, "there is a stage"
        drawn = folder / stages[-1] / f"rollouts-{digest(chosen(variant.sampler), scored)}"
        val = token_clips(data.val, thin, radices, packing)
        found = score_world(variant, tokenizer, model, data.val, val, reader, budget, drawn)
        if packing.still > 0:
            found |= score_codes(tokenizer, data.val, thin)
            shown = [
                psnr(
                    decode_clip(tokenizer, own, moves_of(clip), clip.segments, SCORED_EVERY),
                    clip.frames[::SCORED_EVERY],
                )
                for own, clip in zip(thin, data.val, strict=True)
            ]
            found["psnr"] = float(np.concatenate(shown).mean())
        return {**found}

    return {**columns, **stage(folder / f"{stages[-1]}-{digest(chosen(variant.sampler), scored)}.json", rollouts)}


def run(
    name: str,
    variant: Variant,
    train: Sequence[Path],
    val: Path,
    reader: Path | None,
    out: Path,
    results: Path,
    budget: Budget,
    seed: int,
) -> dict[str, Any]:
    """Measures a preset and adds its row to `results`, unless it is there."""
    model, reader_key = None, ""
    if reader is not None:
        model = load_idm(reader)
        size = (model.config.height, model.config.width)
        if size != (variant.tokenizer.height, variant.tokenizer.width):
            raise WorldModelError(
                f"{reader} reads frames of {size[1]}x{size[0]}, the laboratory's are "
                f"{variant.tokenizer.width}x{variant.tokenizer.height}: train one with worldmodel train idm"
            )
        reader_key = weights_hash(reader)
    elif variant.objectives.align > 0:
        raise WorldModelError(f"{name} aligns its tokenizer with an inverse dynamics model: give one with --reader")
    data = open_data(train, val, out / "frames", (variant.tokenizer.height, variant.tokenizer.width), budget)
    what = {name: value for name, value in chosen(variant).items() if name not in ("about", "reading")}
    conditions = asdict(budget), data.key, reader_key
    key, bench = digest(what, *conditions), digest(*conditions)
    rows = read_rows(results) if results.is_file() else []
    for row in rows:
        if (row["preset"], row["seed"], row["key"]) == (name, seed, key):
            return row
    columns = measure(variant, data, model, reader_key, out, budget, seed)
    made = {"columns": columns, "budget": asdict(budget), "provenance": provenance()}
    row = {"preset": name, "seed": seed, "key": key, "bench": bench, **made}
    results.parent.mkdir(parents=True, exist_ok=True)
    rows = read_rows(results) if results.is_file() else []  # others may have been added meanwhile
    kept = [old for old in rows if (old["preset"], old["seed"], old["bench"]) != (name, seed, bench)]
    write_json(results, [*kept, row])
    return row
