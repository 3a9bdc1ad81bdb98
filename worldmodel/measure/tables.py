"""What was measured, as tables of a README: each function takes what a script wrote as JSON, and gives Markdown."""

from __future__ import annotations

from typing import Any

from worldmodel.evaluation.following.comparison import markdown as table

Measured = dict[str, Any]


def tokenizer_settings(bench: Measured) -> str:
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
        for run in bench["runs"]
    ]
    return table(["FSQ levels", "codes", "bits a frame", "steps", "PSNR", "SSIM", "hotbar PSNR", "codes used"], rows)


def art(bench: Measured) -> str:
    """Best first: by F1 on reconstructions."""
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


def cpu_engines(bench: Measured) -> str:
    tokens, pictures, ratios = bench["tokens_of_a_frame"], bench["image_decoder"], bench.get("times_openvino", {})
    best = next((name for name in tokens if name.startswith("native-")), "")
    painted = {best: pictures["native"], **pictures} if "native" in pictures else pictures
    rows = [
        [
            name,
            f"{times['p50_ms']:.1f} / {times['p95_ms']:.1f}",
            f"{painted[name]['p50_ms']:.1f} / {painted[name]['p95_ms']:.1f}" if name in painted else "-",
            spread(ratios[name]) if name in ratios else "-",
        ]
        for name, times in tokens.items()
    ]
    machine = f"{bench['machine']['cpu']}, {bench['machine']['threads']} threads"
    head = [f"engine ({machine})", "84 tokens, ms p50 / p95", "image decoder, ms p50 / p95"]
    return table([*head, "times as fast as openvino, by pairs (quartiles)"], rows)


def play_speed(headless: Measured, window: Measured) -> str:
    runs = (headless, window)

    def latency(run: Any) -> str:
        return " / ".join(f"{run['latency_ms'][name]:.0f}" for name in ("p50", "p95", "p99")) + " ms"

    rows = [
        ["frames a second", *(f"{run['fps']:.1f}" for run in runs)],
        ["latency, input to picture, p50 / p95 / p99", *(latency(run) for run in runs)],
        ["first picture after the command", *(f"{run['startup_s']:.1f} s" for run in runs)],
    ]
    head = f"{runs[0]['frames']} frames, random actions, two cores ({runs[0]['processor']})"
    return table([head, "as fast as it goes, no window", "in a window, paced at 10 Hz"], rows)


def recording_cost(bench: Measured) -> str:
    plain, recorded = bench["latency_ms"]["plain"], bench["latency_ms"]["recorded"]
    picture, step = bench["rewind"]["picture_ms"], bench["rewind"]["first_step_ms"]
    rows = [
        ["latency of a frame, p50 / p95", *(f"{of['p50']:.0f} / {of['p95']:.0f} ms" for of in (plain, recorded))],
        ["bytes a step", "-", f"{bench['bytes_a_step']:.0f}"],
        ["rewind: to the picture, p50 / p95", "-", f"{picture['p50']:.0f} / {picture['p95']:.0f} ms"],
        ["first step after it, p50 / p95", "-", f"{step['p50']:.0f} / {step['p95']:.0f} ms"],
    ]
    return table([f"{bench['machine']['cpu']}, {bench['frames']} frames", "not recorded", "recorded"], rows)


def reliability(runs: Measured) -> str:
    """A row for each long test that was run (tests/fuzz.py, tests/soak.py)."""
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
    return table(["", "tried", "found"], rows)


def gpu_speed(bench: Measured) -> str:
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


def environments(bench: Measured) -> str:
    """Many environments of one world: stepped together, and one after the other."""
    rows = []
    for count, found in bench["environments"].items():
        rates, times = found["steps_a_second"], found["times_the_loop"]
        rows.append([count, f"{rates['together']:.1f}", f"{rates['in_a_loop']:.1f}", spread(times)])
    machine = f"{bench['provenance']['cpu']}, {bench['provenance']['cores']} cores, --engine {bench['engine']}"
    head = [f"environments ({machine})", "steps a second of all, together", "in a loop"]
    return table([*head, "times the loop, median (quartiles)"], rows)


def training_speed(bench: Measured) -> str:
    """A training step of the world model on a CPU: kinds of attention, memory that is kept, Muon's precision."""
    speeds, times = bench["frames_a_second"], bench["times"]
    first = next(iter(speeds))
    rows = [
        [kind, f"{speeds[kind]:.1f}", f"{bench['gflops'][kind]:.0f}", "" if kind == first else spread(times[kind])]
        for kind in speeds
    ]
    machine = f"{bench['provenance']['cpu']}, {bench['provenance']['cores']} cores"
    step = f"forward and backward in {bench['precision']}"
    title = f"{bench['preset']}, clips of {bench['frames']} frames, {step} ({machine})"
    made = table([title, "frames a second", "GFLOP a second", f"times the seconds of {first}, by pairs"], rows)
    muon = bench.get("muon_seconds")
    return f"{made}\n\nMuon's step: {muon['bf16']:.2f} s in bf16, {muon['float32']:.2f} s in float32." if muon else made


def spread(times: Measured) -> str:
    return f"{times['p50']:.2f} ({times['p25']:.2f} to {times['p75']:.2f})"


def camera(bench: Measured) -> str:
    """What action tokens lose of the camera's moves."""
    title = f"degrees (RMS) that a model is not told; {bench['turned']} steps of {bench['clips']} clips that turn"
    columns = [title, "of a step", f"summed over {bench['rollout_steps']} steps"]
    rows = [[way, f"{off['a_step']:.2f}", f"{off['after_a_rollout']:.2f}"] for way, off in bench["degrees"].items()]
    return table(columns, rows)


def web(bench: Measured) -> str:
    """The browser's two doors beside the window, players a machine, and a long game of four."""

    def row(title: str, found: Measured) -> list[str]:
        late = found.get("latency_ms")
        return [
            title,
            str(found.get("bytes_a_frame", "-")),
            f"{found['fps']:.1f}",
            f"{late['p50']:.0f} / {late['p95']:.0f} ms" if late else "-",
        ]

    machines = dict.fromkeys(f"{one['cpu']}, {one['cores']} cores" for one in bench["provenance"].values())
    machine = f"{'; '.join(machines)}, Chromium without a window"
    tab, game = bench["tab"], bench["long game"]
    first = table(
        [f"nano ({machine})", "bytes a frame", "frames a second", "latency, p50 / p95"],
        [
            row("`worldmodel serve`", bench["served"]),
            row("tokens alone (`?pixels=0`)", bench["served as tokens"]),
            row("pictures alone (`?pixels=1`)", bench["served as pictures"]),
            row("`worldmodel web`: in the tab alone", tab),
            row("`worldmodel play`: the window", bench["window"]),
        ],
    )
    rates = ", ".join(f"{run['players']}: {min(run['fps_each']):.1f}" for run in bench["players"])
    first_mb, full_mb, _ = game["held_mb"]
    grown = (
        f"{first_mb:.0f} MB at first, {full_mb:.0f} MB once each had all that it can rewind behind it, and for "
        f"{game['minutes_after_filling']:g} minutes from then on {game['growth_an_hour']:+.1%} ± "
        f"{game['standard_error']:.1%} an hour"
    )
    return (
        f"{first}\n\nPaced at the world's 10 Hz. Python without a window, right before and after the tab: "
        f"{' and '.join(f'{fps:.1f}' for fps in tab['python_fps'])} frames a second; the tab's folder: "
        f"{tab['folder_mb']:.1f} MB. Players at once, and the frames a second of the slowest of them: {rates}. "
        f"{game['players']} players for {game['minutes']:g} minutes: {game['frames']:,} frames, {game['missed']:,} "
        f"of them not sent to a page that was behind, {game['lost_steps']} recorded steps lost; the server's memory: "
        f"{grown}."
    )


def sweep(bench: Measured) -> str:
    """Checkpoints and their sampling, as `worldmodel sweep` scored them on the same clips."""
    rows = []
    for row in bench["rows"]:
        sampler, low_high = row["sampler"], row["f1_interval95"]
        first, last = row["token_entropy"]
        rows.append(
            [
                row["checkpoint"],
                f"{sampler['temperature']:g} / {sampler['top_p']:g} / {sampler['guidance']:g}",
                f"{row['validation']['loss_nats_per_token']:.3f}",
                f"{row['f1']:.3f} ({low_high[0]:.3f} to {low_high[1]:.3f})",
                f"{row['psnr']:.2f} ({row['psnr'] - row['psnr_repeat']:+.2f})",
                f"{first:.2f} / {last:.2f}",
            ]
        )
    head = [f"{bench['clips']} stretches of {bench['frames']} frames", "temperature / top-p / guidance"]
    head += ["loss, nats", f"F1 (recorded: {bench['rows'][0]['f1_real']:.3f})", "PSNR (over repeating), dB"]
    return table([*head, f"token entropy, first / last 100 of {bench['drift_frames']} frames"], rows)


def weight_formats(bench: Measured) -> str:
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
