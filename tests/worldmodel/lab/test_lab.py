"""The laboratory at tiny sizes: codes round-trip, presets build and learn, a killed run goes on, ties are told."""

import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, vpt_line, write_clip

from worldmodel.lab import bench, scores
from worldmodel.lab.autoencoder import Crossing, LabTokenizer, TokenizerParts
from worldmodel.lab.budget import Budget
from worldmodel.lab.clips import digest, open_data
from worldmodel.lab.codes import Codes, SubCode, join, split
from worldmodel.lab.heads import head_radices
from worldmodel.lab.presets import BASELINE, PRESETS, preset
from worldmodel.lab.table import Column, cell, plot, read_rows, summary, table
from worldmodel.lab.train import train_autoencoder
from worldmodel.lab.variant import Variant
from worldmodel.training.run import state as kept
from worldmodel.training.run.state import load_state
from worldmodel.types import WorldModelError

HEIGHT, WIDTH = 48, 80
TINY = {"encoder_channels": (16, 16), "encoder_blocks": (1, 1), "decoder_channels": (16, 16), "decoder_blocks": (1, 1)}
BUDGET = Budget(
    tokenizer_steps=4, tokenizer_batch=4, prior_steps=2, prior_batch=4, world_steps=2, world_batch=1, world_clip=8,
    train_clips=2, train_steps=30, val_clips=1, val_steps=30, episodes=1, episode_frames=3, context=2, away=1,
    bf16=False, save_minutes=0,
)  # fmt: skip
FSQ, VQ, BITS = SubCode(levels=(4, 3)), SubCode(size=16, dim=2), SubCode(bits=3)


def tiny(variant: Variant) -> Variant:
    parts = replace(variant.tokenizer, height=HEIGHT, width=WIDTH, **TINY)
    if parts.scales:
        parts = replace(parts, scales=((1, 2),))
    packing = variant.packing
    if packing.fuse > 1:
        packing = replace(packing, fuse=5)  # of a grid of 3x5
    if parts.queries:
        parts = replace(parts, queries=5 if parts.grid else 15)
    small = replace(variant.transformer, hidden=32, mlp=48, layers=1, heads=2, kv_heads=1, head_dim=16, offsets=(1, 2))
    return replace(variant, tokenizer=parts, transformer=small, packing=packing)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("lab")
    for split_name, number in (("train", 2), ("val", 1)):
        for index in range(number):
            turns = [vpt_line(dx=60 if at % 40 < 20 else -60, keys=["key.keyboard.w"]) for at in range(80)]
            write_clip(root / split_name / str(index), turns)
    return root


@pytest.fixture(scope="module")
def data(folders):
    return open_data([folders / "train"], folders / "val", folders / "frames", (HEIGHT, WIDTH), BUDGET)


@pytest.mark.parametrize(
    ("parts", "compose"),
    [((FSQ,), "product"), ((VQ,), "product"), ((BITS,), "product"), ((FSQ, VQ, BITS), "product"),
     ((FSQ, SubCode(levels=(3, 3))), "residual"), ((VQ, VQ), "residual")],
)  # fmt: skip
def test_codes_decode_to_what_they_were_made_of_and_neighbours_are_others(parts, compose):
    torch.manual_seed(0)
    codes = Codes(parts, compose).eval()
    quantised, indices, _ = codes(torch.randn(7, 5, codes.latent_dim))
    assert indices.shape == (7, 5)
    assert 0 <= int(indices.min()) <= int(indices.max()) < codes.codebook_size
    torch.testing.assert_close(codes.decode(indices), quantised)
    near = codes.neighbours(indices, torch.Generator().manual_seed(1))
    assert (near != indices).all()
    changed = split(near, codes.radices) != split(indices, codes.radices)
    assert (changed.sum(-1) == 1).all()
    assert torch.equal(join(split(indices, codes.radices), codes.radices), indices)


def test_a_sub_code_is_one_kind():
    with pytest.raises(ValueError, match="exactly one"):
        SubCode(levels=(2,), bits=2)
    with pytest.raises(ValueError, match="need one dimension"):
        Codes((FSQ, BITS), "residual")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_and_shows_frames(name):
    variant = tiny(preset(name))
    head_radices(variant.head, [part.codebook_size for part in variant.tokenizer.codes])
    tokenizer = LabTokenizer(variant.tokenizer).eval()
    codes = tokenizer.encode(torch.rand(2, 3, HEIGHT, WIDTH) * 2 - 1)
    assert codes.shape == (2, variant.tokenizer.tokens)
    assert tokenizer.decode(codes).shape == (2, 3, HEIGHT, WIDTH)
    assert "arxiv" not in variant.about.lower()
    assert len(variant.about) > 40, "a preset says what is kept and what is left out"


@pytest.mark.parametrize("name", [BASELINE, "robusttok", "detail", "bsq", "previous", "one-d-piece", "beyond-words"])
def test_a_preset_learns(name, data, tmp_path):
    variant = tiny(preset(name))
    before = LabTokenizer(variant.tokenizer).state_dict()
    after = train_autoencoder(
        variant.tokenizer, variant.objectives, variant.head, BUDGET, data.train, None, tmp_path, 0
    ).state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert all(torch.isfinite(value).all() for value in after.values() if value.is_floating_point())


def test_codes_that_are_quantised_late_are_not_rounded_in_training():
    codes, latents = Codes((replace(FSQ, late=True),)), torch.randn(3, 4, 2)
    continuous, indices, _ = codes(latents)
    assert not torch.equal(continuous, codes.decode(indices))
    torch.testing.assert_close(codes.eval()(latents)[0], codes.decode(indices))


def test_causal_queries_see_those_before_them_alone():
    crossing = Crossing(6, 4, 5, 3, causal=True).eval()
    seen = torch.randn(1, 6, 4)
    with torch.no_grad():
        before = crossing(seen)
        crossing.query[3].normal_()
        after = crossing(seen)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 4], after[:, 4])


def test_a_run_is_measured_once_and_a_killed_one_ends_alike(folders, data, tmp_path, monkeypatch):
    variant = tiny(preset(BASELINE))

    def run(out):
        given = ([folders / "train"], folders / "val", None, tmp_path / out, tmp_path / out / "lab.json", BUDGET, 0)
        return bench.run(BASELINE, variant, *given)

    whole = run("whole")
    assert run("whole") == whole
    assert len(read_rows(tmp_path / "whole/lab.json")) == 1
    calls = []

    def killed(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    real = kept.save_state
    monkeypatch.setattr(kept, "save_state", killed)
    with pytest.raises(KeyboardInterrupt):
        run("killed")
    monkeypatch.setattr(kept, "save_state", real)
    ended = run("killed")
    skipped = {"decoder_ms", "frame_ms"}
    for name, value in whole["columns"].items():
        if name not in skipped and value is not None:
            assert ended["columns"][name] == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize(
    "name",
    [
        "far-8-evaluator",
        "token-shuffle",
        "divprune",
        "summary-12",
        "tokenflex",
        "lavit",
        "state-tokens",
        "ett",
        "digit-head",
    ],
)
def test_a_preset_of_the_world_model_is_measured_with_the_baseline_s_tokenizer(name, folders, tmp_path):
    variant = tiny(preset(name))
    if variant.world_head == "digits":
        eight = TokenizerParts(codes=(SubCode(levels=(8, 8)),))
        variant = replace(variant, tokenizer=replace(variant.tokenizer, codes=eight.codes))
    if variant.packing.fuse > 1:  # codes of a place that fit
        variant = replace(
            variant, tokenizer=replace(variant.tokenizer, codes=(FSQ,)), packing=replace(variant.packing, fuse=5)
        )
    row = bench.run(
        name, variant, [folders / "train"], folders / "val", None, tmp_path, tmp_path / "lab.json", BUDGET, 0
    )
    assert row["columns"]["bits_world"] > 0
    assert row["columns"]["rollout_psnr"] > 0
    assert len(list(tmp_path.glob("tokenizer-*"))) == 1
    learned = {digest(bench.chosen(tiny(preset(other)).tokenizer)) for other in (name, BASELINE)}
    assert len(learned) == 1


def test_action_rows_learn_alone(folders, tmp_path):
    found = {}
    for name in (BASELINE, "twice-as-long", "action-rows"):
        variant = tiny(preset(name))
        given = ([folders / "train"], folders / "val", None, tmp_path, tmp_path / "lab.json", BUDGET, 0)
        found[name] = bench.run(name, variant, *given)["columns"]["bits_world"]
    assert len(set(found.values())) == 3
    (world,) = tmp_path.glob("tokenizer-*/world-*[!slx]/state.pt")
    first, then = load_state(world), load_state(Path(f"{world.parent}-actions") / "state.pt")
    assert first is not None
    assert then is not None
    before, after = first["average"], then["model"]  # what it goes on from, and what became of it
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"embed_tokens.weight"}
    rows = (before["embed_tokens.weight"] != after["embed_tokens.weight"]).any(1).nonzero()
    codes = math.prod(tiny(preset(BASELINE)).tokenizer.codes[0].levels)
    assert rows.min() >= codes


def test_inside_the_noise_the_table_says_tie():
    rows = [
        {"preset": name, "seed": seed, "bench": "a", "budget": asdict(BUDGET), "columns": {"psnr": value}}
        for name, values in {BASELINE: (20.0, 20.2, 20.1), "detail": (20.15,), "parti": (22.0,), "bsq": (18.0,)}.items()
        for seed, value in enumerate(values)
    ]
    column = Column("psnr", "PSNR, dB")
    assert cell(rows, "detail", column) == "20.15 tie"
    assert cell(rows, "parti", column) == "22.00 **+1.90**"
    assert cell(rows, "bsq", column) == "18.00 -2.10"
    assert cell(rows, "titok", column) == "-"
    shown = table(rows)
    assert "20.10 ± " in shown
    assert "tie" in shown
    told = summary(rows).splitlines()
    assert told[0] == f"4 of {len(PRESETS)} presets are measured."
    assert told[4] == "| Pictures: PSNR, dB | 20.10 ± 0.34 | parti +1.90 | bsq -2.10 | 1 |"
    with pytest.raises(WorldModelError, match="no baseline"):
        table(rows[3:])
    longer = [
        {"preset": name, "seed": 0, "bench": "b", "budget": asdict(BUDGET), "columns": {"psnr": value}}
        for name, value in ((BASELINE, 24.0), ("parti", 24.3), ("bsq", 25.0))
    ]
    told = summary([*longer, *rows]).splitlines()
    assert told[-8] == "| Pictures: PSNR, dB | 24.00 | 24.30 tie | 25.00 **+1.00** |"
    assert "the noise is that of the 3 seeds" in table([*longer, *rows])


def test_bits_are_judged_between_codes_that_store_as_many():
    rows = [
        {"preset": name, "seed": seed, "bench": "a", "columns": {"bits_world": value, "bits": bits}}
        for name, values, bits in (
            (BASELINE, (500.0, 502.0, 501.0), 1008),
            ("far-8", (480.0,), 1008),
            ("vitok-10-bits", (430.0,), 840),
        )
        for seed, value in enumerate(values)
    ]
    column = Column("bits_world", "bits a frame", ".0f", -1, alike=True)
    assert cell(rows, "far-8", column) == "480 **-21**"
    assert cell(rows, "vitok-10-bits", column) == "430"


def test_the_committed_results_are_a_table_and_a_picture(tmp_path):
    rows = read_rows(ROOT / "benchmarks/lab.json")
    assert BASELINE in table(rows)
    assert "presets are measured" in summary(rows)
    plot(rows, tmp_path / "lab.png")
    assert (tmp_path / "lab.png").stat().st_size > 10_000


def test_a_preset_that_needs_a_reader_says_so_before_any_work(folders, tmp_path):
    with pytest.raises(WorldModelError, match="--reader"):
        bench.run(
            "gigatok", tiny(preset("gigatok")), [folders / "train"], folders / "val", None, tmp_path, tmp_path / "r",
            BUDGET, 0,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())
    with pytest.raises(WorldModelError, match="known are baseline"):
        preset("nonsense")


def test_glyphs_are_read_where_they_are_whole_and_not_where_they_are_gone():
    frames = np.random.default_rng(0).integers(0, 255, (20, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for size in scores.GLYPH_SIZES:
        pasted, digits, places = scores.paste_glyphs(frames, size, np.random.default_rng(size))
        assert (scores.read_glyphs(pasted, places, size) == digits).mean() == 1
        grey = np.full_like(pasted, 128)
        assert (scores.read_glyphs(grey, places, size) == digits).mean() < 0.5


def test_flicker_counts_codes_that_change_where_the_picture_does_not():
    frames = np.zeros((3, 32, 32, 3), np.uint8)
    frames[2, :16] = 200  # the upper half changes between the last two
    codes = np.zeros((3, 2, 2), np.int64)
    codes[1, 1, 0] = codes[2, 0, 1] = 5
    still = np.zeros(3, np.int64)
    assert scores.flicker(codes, frames, still) == pytest.approx(2 / 6)  # (1,0) comes and goes, of 4 + 2 still places


def test_looking_away_and_back_is_found():
    camera = np.zeros((30, 2), np.float32)
    camera[3:8, 1], camera[12:17, 1] = 10, -10
    found = scores.looks_away(camera, np.zeros(30, np.int64), 40)
    assert len(found) == 1
    first, last = found[0]
    assert first <= 3
    assert last >= 17
    assert abs(camera[first:last, 1].sum()) < 5
    assert not scores.looks_away(np.zeros((30, 2), np.float32), np.zeros(30, np.int64), 40)
