"""Writes the figures in the two READMEs from the JSON files that scripts measured; no figure is typed by hand.

    python scripts/write_tables.py [--check]

Replaces what stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. --check only says whether they are current.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from client.play.controls import DEFAULT_BINDINGS
from client.play.keys import PLAY, REPLAY, game_keys, help_lines
from worldmodel.evaluation.following.bars import bar_rows
from worldmodel.evaluation.following.comparison import markdown as table
from worldmodel.evaluation.following.comparison import mean_psnr
from worldmodel.evaluation.following.page import kept_sentence
from worldmodel.lab.table import read_rows
from worldmodel.lab.table import summary as lab_summary
from worldmodel.model.loading import load_config
from worldmodel.script import main_with_errors

ROOT = Path(__file__).resolve().parent.parent
NANO = ROOT / "worldmodel/pretrained/nano"
IDM = ROOT / "worldmodel/pretrained/idm"
LUANTI = ROOT / "worldmodel/games/luanti"
BENCHMARKS = ROOT / "benchmarks"


@dataclass(frozen=True)
class Arguments:
    """Write the tables, or check them."""

    check: bool = False
    """Write nothing; exit code 1 if a table is not that of the JSON files."""


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def keys() -> str:
    """The game's own keys as they are bound at first, and the client's while one plays and in a replay."""
    first = {button: bound[0] for button, bound in DEFAULT_BINDINGS.items()}
    tables = {"game": game_keys(first), "while you play": help_lines(PLAY), "in a replay": help_lines(REPLAY)}
    return "\n\n".join(table([title, ""], [list(line) for line in lines]) for title, lines in tables.items())


def nano_scores() -> str:
    scores = read(NANO / "scores.json")
    tokenizer, rollout = scores["tokenizer"], scores["rollouts"]["sampled"]
    codes = load_config(NANO).image_tokenizer.codebook_size
    turns, presses, hud = scores["turns_followed"], scores["presses_shown"], tokenizer["psnr_hud"]
    rows = [
        ["tokenizer PSNR / SSIM (validation clips)", f"{tokenizer['psnr']:.2f} dB / {tokenizer['ssim']:.3f}"],
        ["tokenizer PSNR, " + " / ".join(hud), " / ".join(f"{value:.1f} dB" for value in hud.values())],
        [
            "codes used / perplexity",
            f"{tokenizer['used']:.0%} / {tokenizer['perplexity']:.0f} of {codes}",
        ],
        [
            "tokenizer PSNR with 1% / 5% / 10% of tokens wrong",
            " / ".join(f"{value:.2f}" for value in tokenizer["psnr_perturbed"].values()) + " dB",
        ],
        [
            "selected hotbar slot / item in it read from the reconstruction",
            f"{tokenizer['slots_read']:.1%} / {tokenizer['items_read']:.1%}",
        ],
        ["validation loss", f"{scores['validation']['loss_nats_per_token']:.3f} nats a token"],
        ["tokens guessed right (greedy, true context)", f"{scores['validation']['accuracy']:.1%}"],
        [
            f"15-frame rollouts, PSNR ({rollout['clips']} clips, mean of the frames)",
            f"{mean(rollout['psnr_model']):.2f} dB; repeating the last frame: {mean(rollout['psnr_repeat']):.2f} dB",
        ],
        ["hotbar key selects its slot (start scenes, every other slot)", scores["slots_followed"]],
        ["right button places, left button digs (start scenes)", f"{presses['use']}, {presses['attack']}"],
        ["picture follows the mouse (start scenes)", ", ".join(f"{way}: {hits}" for way, hits in turns.items())],
    ]
    return table(["measured on the shipped weights", "value"], rows)


def nano_rollouts() -> str:
    scores = read(NANO / "scores.json")["rollouts"]
    sampled, greedy = scores["sampled"], scores["greedy"]
    rows = [
        [str(index + 1), f"{a:.2f}", f"{b:.2f}", f"{c:.2f}"]
        for index, (a, b, c) in enumerate(
            zip(sampled["psnr_model"], greedy["psnr_model"], sampled["psnr_repeat"], strict=True)
        )
    ]
    return table(["frame", "model (as it is played)", "model (greedy)", "repeat the last frame"], rows)


def nano_training() -> str:
    facts = read(NANO / "training.json")
    return table(["", "tokenizer", "world model"], [
        [name, str(facts["tokenizer"][name]), str(facts["world"][name])] for name in facts["tokenizer"]
    ]) + f"\n\n{facts['note']}"  # fmt: skip


def tokenizer_settings() -> str:
    rows = [
        [
            "x".join(map(str, run["levels"])),
            str(run["codes"]),
            f"{run['bits_per_frame']:.0f}",
            str(run["steps"]),
            f"{run['psnr']:.2f}",
            f"{run['ssim']:.3f}",
            f"{run['hotbar']:.2f}",
            f"{run['used']:.1%}",
        ]
        for run in read(BENCHMARKS / "tokenizer_settings.json")["runs"]
    ]
    return table(["FSQ levels", "codes", "bits a frame", "steps", "PSNR", "SSIM", "hotbar PSNR", "codes used"], rows)


def art() -> str:
    """Best first: by F1 on reconstructions."""
    bench = read(BENCHMARKS / "art.json")
    rows = [
        [
            style,
            f"{found['f1_reconstructed']:.2f}",
            f"{found['f1_recorded']:.2f}",
            f"{found['camera_degrees_reconstructed']:.2f} / {found['camera_degrees_recorded']:.2f}",
            f"{found['sharpness_kept']:.0%} of {found['sharpness']:.1f}",
            f"{found['psnr']:.2f}",
            f"{found['slots_read']:.0%} / {found['items_read']:.0%}",
            f"{found['perplexity']:.0f}",
        ]
        for style, found in sorted(bench["styles"].items(), key=lambda item: -item[1]["f1_reconstructed"])
    ]
    settings = bench["settings"]
    header = ["style", "F1, reconstructed", "F1, recorded", "camera off, degrees", "edges kept", "PSNR", "slot / item"]
    note = (
        f"{settings['clips']} clips of {settings['frames']} frames, {settings['steps']} steps of the tokenizer, "
        f"{settings['reader_steps']} of the inverse dynamics model, one seed each. Edges kept: mean brightness "
        "difference of neighbouring pixels, of that of the recorded frames."
    )
    return table([*header, "perplexity"], rows) + "\n\n" + note


def cpu_engines() -> str:
    bench = read(BENCHMARKS / "cpu_engines.json")
    tokens, pictures = bench["tokens_of_a_frame"], bench["image_decoder"]
    rows = [
        [
            name,
            f"{times['p50_ms']:.1f} / {times['p95_ms']:.1f}",
            f"{pictures[name]['p50_ms']:.1f} / {pictures[name]['p95_ms']:.1f}" if name in pictures else "-",
        ]
        for name, times in tokens.items()
    ]
    machine = f"{bench['machine']['cpu']}, {bench['machine']['threads']} threads"
    return table([f"engine ({machine})", "84 tokens, ms p50 / p95", "image decoder, ms p50 / p95"], rows)


def play_speed() -> str:
    runs = [read(BENCHMARKS / f"play_{name}.json") for name in ("headless", "window")]

    def latency(run: Any) -> str:
        return " / ".join(f"{run['latency_ms'][name]:.0f}" for name in ("p50", "p95", "p99")) + " ms"

    rows = [
        ["frames a second", *(f"{run['fps']:.1f}" for run in runs)],
        ["latency, input to picture, p50 / p95 / p99", *(latency(run) for run in runs)],
        ["first picture after the command", *(f"{run['startup_s']:.1f} s" for run in runs)],
    ]
    head = f"{runs[0]['frames']} frames, random actions, two cores"
    return table([head, "as fast as it goes, no window", "in a window, paced at 10 Hz"], rows)


def recording_cost() -> str:
    bench = read(BENCHMARKS / "recording.json")
    plain, recorded = bench["latency_ms"]["plain"], bench["latency_ms"]["recorded"]
    picture, step = bench["rewind"]["picture_ms"], bench["rewind"]["first_step_ms"]
    rows = [
        ["latency of a frame, p50 / p95", *(f"{of['p50']:.0f} / {of['p95']:.0f} ms" for of in (plain, recorded))],
        ["bytes a step", "-", f"{bench['bytes_a_step']:.0f}"],
        ["rewind: to the picture, p50 / p95", "-", f"{picture['p50']:.0f} / {picture['p95']:.0f} ms"],
        ["first step after it, p50 / p95", "-", f"{step['p50']:.0f} / {step['p95']:.0f} ms"],
    ]
    return table([f"{bench['machine']['cpu']}, {bench['frames']} frames", "not recorded", "recorded"], rows)


def reliability() -> str:
    """A row for each long test that was run (tests/fuzz.py, tests/soak.py)."""
    path = BENCHMARKS / "reliability.json"
    runs = read(path) if path.is_file() else {}
    rows = []
    if "fuzz" in runs:
        fuzz = runs["fuzz"]
        counts = ", ".join(f"{count:,} {kind}" for kind, count in fuzz["cases"].items())
        most = f"{fuzz['slowest_case_s']:.1f} s and {fuzz['most_mib']:.0f} MiB"
        found = f"{len(fuzz['finds'])} finds; at most {most} each"
        rows.append([f"`make fuzz MINUTES={fuzz['minutes']:g}`", counts, found])
    if "soak" in runs:
        soak = runs["soak"]
        played = f"{soak['frames']:,} frames, {soak['resets']} resets, {soak['rewinds']} rewinds"
        error = f" ± {soak['standard_error']:.2%}" if soak["standard_error"] is not None else ""
        grown = f"{soak['lost_steps']} steps lost; memory {soak['growth_an_hour']:+.2%}{error} an hour"
        rows.append([f"`make soak MINUTES={soak['minutes']:g}`", played, grown])
    if "kills" in runs:
        kills = runs["kills"]
        killed = f"{kills['kills']} kills while a step is recorded every {kills['step_ms']:g} ms"
        rows.append(["`make kills`", killed, f"at most {kills['most_lost']} step lost, the one being written"])
    if not rows:
        return "Not yet measured (`make fuzz` and `make soak` write `benchmarks/reliability.json`)."
    return table(["", "tried", "found"], rows)


def gpu_speed() -> str:
    if not (BENCHMARKS / "gpu.json").is_file():
        return "GPU speed: not yet measured (`scripts/gpu_check.py` writes `benchmarks/gpu.json`)."
    bench = read(BENCHMARKS / "gpu.json")
    rows = []
    for part, run in bench["parts"].items():
        if "fps" in run:
            times = run["frame_ms"]
            plain = f"{run['baseline']['times_slower']:.1f}" if "baseline" in run else "-"
            percentiles = f"{times['p50']:.1f} / {times['p99']:.1f}"
            reached = f"{run['roofline']['reached']:.0%}"
            beside = f"{run['overlapped_fps']:.1f}" if "overlapped_fps" in run else "-"
            kept = f"{run['matrices']}, {run['kv_cache']}"
            rows.append([part, kept, f"{run['fps']:.1f}", beside, percentiles, reached, plain])
    head = [
        f"{bench['device']}, pixels included",
        "weights, cache",
        "frames a second",
        "pictures beside",
        "p50 / p99, ms",
    ]
    return table([*head, "of the roofline", "times the baseline"], rows)


def weight_formats() -> str:
    bench = read(BENCHMARKS / "weight_formats.json")
    rows = [
        [
            name,
            f"{cost['bytes'] / 1e6:.1f} MB",
            f"{cost['loss_change']:+.5f} ± {cost['loss_change_error']:.5f}",
            f"{cost['logit_error']:.2%}",
            f"{cost['divergence']:.1e}",
            f"{cost['same_choice']:.1%}",
        ]
        for name, cost in bench["formats"].items()
        if name != "float32"
    ]
    plain = bench["formats"]["float32"]["bytes"] / 1e6
    head = [
        f"weights (float32: {plain:.1f} MB; {bench['windows']} windows)",
        "read a pass",
        "validation loss, nats",
        "logit error (RMS)",
        "KL, nats",
        "same first choice",
    ]
    return table(head, rows)


NOT_YET = "Not yet measured."


def evaluations() -> dict[str, Any]:
    """What scripts/evaluate.py left of nano, on the clips that each file names; those that are there."""
    files = {"validation clips": "evaluation_nano.json", "fresh seeds": "evaluation_nano_fresh.json"}
    return {title: read(BENCHMARKS / name) for title, name in files.items() if (BENCHMARKS / name).exists()}


def nano_following() -> str:
    """The first evaluation's action following, beside its ceilings and its control."""
    found = evaluations()
    if not found:
        return NOT_YET
    title, scores = next(iter(found.items()))
    sources = scores["following"]

    def f1(source: dict[str, Any], group: str) -> str:
        low, high = source["interval95"][group]
        value = source["f1"] if group == "f1" else source["groups"][group]["macro"]["f1"]
        return f"{value:.2f} ({low:.2f} to {high:.2f})"

    groups = {name: group["macro"]["support"] for name, group in sources["real"]["groups"].items()}
    rows = [["mean over the groups", str(sources["real"]["steps"]), *(f1(source, "f1") for source in sources.values())]]
    rows += [[name, str(n), *(f1(source, name) for source in sources.values())] for name, n in groups.items() if n]
    for axis in ("pitch", "yaw"):
        cameras = [source["camera"][axis] for source in sources.values()]
        rows.append(
            [f"camera {axis}: degrees off; turned the right way", str(cameras[0]["moved"])]
            + [f"{camera['error_degrees']:.2f}; {camera['moved_sign']:.0%}" for camera in cameras]
        )
    made, repeat = (mean_psnr(scores, name) for name in ("model", "repeat"))
    speed, hotbar = scores["speed"], scores.get("hotbar_kept")
    kept = f" {kept_sentence(hotbar)}." if hotbar else ""
    head = [f"macro F1 (95% interval), {title}", "n", "recorded frames", "reconstructed", "nano", "nano, other actions"]
    return (
        table(head, rows)
        + f"\n\n{scores['episodes']} stretches of {scores['settings']['frames']} frames; PSNR {made:.2f} dB, "
        + f"repeating the last frame {repeat:.2f} dB; {speed['fps']:.1f} frames a second with the image decoder "
        + f"({scores['provenance']['cpu']}, {scores['provenance']['cores']} cores).{kept}"
    )


def idm_scores() -> str:
    if not (IDM / "scores.json").exists():
        return NOT_YET
    found = read(IDM / "scores.json")
    sources = {title: found[name] for title, name in (("recorded frames", "real"), ("reconstructed", "reconstructed"))}
    first = found["real"]
    rows = [["mean over the groups", str(first["steps"]), *(f"{source['f1']:.3f}" for source in sources.values())]]
    for group, scores in first["groups"].items():
        for name, score in scores["classes"].items():
            if score["support"] and name != "none":
                f1 = (f"{source['groups'][group]['classes'][name]['f1']:.3f}" for source in sources.values())
                rows.append([name, str(score["support"]), *f1])
    for axis in ("pitch", "yaw"):
        cameras = [source["camera"][axis] for source in sources.values()]
        rows.append(
            [f"{axis}: degrees off; turned the right way", str(cameras[0]["moved"])]
            + [f"{camera['error_degrees']:.2f}; {camera['moved_sign']:.0%}" for camera in cameras]
        )
    training = found["training"]
    seen = training["steps"] * training["batch"] * (training["clip"] - 1)
    return table(["F1", "n", *sources], rows) + f"\n\n{training['steps']} steps, {seen / 1e3:.0f},000 transitions."


def nano_bars() -> str:
    found = evaluations()
    if not found:
        return NOT_YET
    games = [read(path) for path in sorted(BENCHMARKS.glob("against_game_nano*.json"))]
    size = sum(path.stat().st_size for path in NANO.glob("*.safetensors")) / 1e6
    rows = bar_rows(list(found.values()), games, size)
    return table(["", "bar", *found], rows)


def nano_game() -> str:
    """The same start and the same actions in the real game and in nano: how many trials went as in the real game."""
    file = BENCHMARKS / "against_game_nano.json"
    if not file.exists():
        return NOT_YET
    found = {(s["kind"], s["question"], s["source"]): s for s in read(file)["scores"] if s["group"] == "all"}
    asked = list(dict.fromkeys((kind, question) for kind, question, _ in found))
    sources = ("real", "tokenizer", "model", "frozen")
    rows = [
        [f"{kind}: {question}"]
        + [f"{found[kind, question, name]['hits']} of {found[kind, question, name]['n']}" for name in sources]
        for kind, question in asked
    ]
    return table(["", "the real game's frames", "reconstructed", "nano", "a picture that stands still"], rows)


def lab() -> str:
    path = BENCHMARKS / "lab.json"
    return lab_summary(read_rows(path)) if path.exists() else NOT_YET


BLOCKS: dict[str, Callable[[], str]] = {
    "keys": keys,
    "lab": lab,
    "nano-scores": nano_scores,
    "nano-rollouts": nano_rollouts,
    "nano-training": nano_training,
    "tokenizer-settings": tokenizer_settings,
    "art": art,
    "cpu-engines": cpu_engines,
    "play-speed": play_speed,
    "recording-cost": recording_cost,
    "reliability": reliability,
    "gpu-speed": gpu_speed,
    "weight-formats": weight_formats,
    "nano-following": nano_following,
    "nano-bars": nano_bars,
    "idm-scores": idm_scores,
    "nano-game": nano_game,
}


def filled(text: str) -> str:
    """`text` with every marked block made anew."""

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}\n\n{BLOCKS[match[2]]()}\n\n{match[3]}"

    return re.sub(r"(<!-- ([a-z-]+):begin -->).*?(<!-- \2:end -->)", block, text, flags=re.DOTALL)


def main(args: Arguments) -> None:
    stale = []
    for folder in (ROOT, ROOT / "client", BENCHMARKS, NANO, IDM, LUANTI):
        path = folder / "README.md"
        text = path.read_text()
        new = filled(text)
        if new != text:
            stale.append(str(path.relative_to(ROOT)))
            if not args.check:
                path.write_text(new)
    if args.check and stale:
        sys.exit(f"the tables in {', '.join(stale)} are not those of the JSON files: run scripts/write_tables.py")


if __name__ == "__main__":
    main_with_errors(main, Arguments)
