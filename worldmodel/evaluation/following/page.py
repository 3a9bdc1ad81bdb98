"""The evaluation as one self-contained HTML page: tables, curves, strips of pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worldmodel.evaluation.following.drift import STRETCH
from worldmodel.evaluation.following.scores import AXES, GROUPS

TITLES = {
    "real": "recorded frames (ceiling)",
    "reconstructed": "their reconstruction by the image tokenizer (ceiling)",
    "model": "the world model, on the recorded actions",
    "shuffled": "control: the world model, on another clip's actions",
}
JPEG_QUALITY = 80
DRIFT_PICTURES = 7  # of a long rollout
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.6rem 0}td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:right}
td:first-child,th:first-child{text-align:left}img{max-width:100%}small{color:#666}"""


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    def line(cells: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def picture(pixels: NDArray[np.uint8]) -> str:
    """uint8 (H, W, 3) -> an <img> with the data in it."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=JPEG_QUALITY)
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}">'


def sheet(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Strips (n, H, W, 3) of equal length, one above the other."""
    return np.concatenate([np.concatenate(list(row), 1) for row in rows])


def plot(curves: dict[str, Sequence[float]], x: Sequence[float] | None, x_label: str, y_label: str) -> str:
    """Lines over x (None: 1, 2, ..., which may differ in length) as an inline SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for name, values in curves.items():
        axes.plot(range(1, len(values) + 1) if x is None else x, values, marker=".", label=name)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]


def interval(values: dict[str, Any], name: str, value: float) -> str:
    low, high = values["interval95"][name]
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def following_part(scores: dict[str, Any]) -> str:
    sources = scores["following"]
    head = ["", *(TITLES[name] for name in sources)]
    rows: list[list[object]] = [
        ["F1, mean over groups (95% interval)", *(interval(v, "f1", v["f1"]) for v in sources.values())],
        ["precision / recall", *(f"{v['precision']:.3f} / {v['recall']:.3f}" for v in sources.values())],
        ["micro F1", *(interval(v, "micro_f1", v["micro_f1"]) for v in sources.values())],
    ]
    for group in GROUPS:
        support = sources["real"]["groups"][group]["macro"]["support"]
        cells = [interval(v, group, v["groups"][group]["macro"]["f1"]) for v in sources.values()]
        rows.append([f"{group} (n = {support})", *(cells if support else ["not used"] * len(sources))])
    for axis in AXES:
        moved = sources["real"]["camera"][axis]["moved"]
        rows.append(
            [
                f"camera {axis}: bins / degrees off; when turned ({moved}): degrees off, right way",
                *(
                    f"{c['error_bins']:.2f} / {c['error_degrees']:.2f}; {c['moved_error_degrees']:.2f}, "
                    f"{c['moved_sign']:.0%}"
                    for c in (v["camera"][axis] for v in sources.values())
                ),
            ]
        )
    confusions = "".join(
        f"<h4>{html.escape(group)}: told (rows), read from the model's frames (columns)</h4>"
        + table(
            ["", *sources["model"]["groups"][group]["classes"]],
            [
                [name, *line]
                for name, line in zip(
                    sources["model"]["groups"][group]["classes"],
                    sources["model"]["groups"][group]["confusion"],
                    strict=True,
                )
            ],
        )
        for group in GROUPS
        if sources["real"]["groups"][group]["macro"]["support"]
    )
    return table(head, rows) + f"<details><summary>confusion matrices</summary>{confusions}</details>"


def cost(speed: dict[str, Any]) -> str:
    if not speed["frames"]:
        return "Not measured."
    return (
        f"{speed['ms_p50']:.0f} ms a frame (p95 {speed['ms_p95']:.0f} ms), from action to picture, image decoder "
        f"included: {speed['fps']:.1f} frames a second; engine {html.escape(speed['engine'])}, {speed['frames']} "
        "frames. Other work on the machine makes it slower."
    )


def drift_part(rows: list[dict[str, Any]]) -> str:
    ends = [row["frames"][1] for row in rows]
    curves = {"F1": "f1", "sharpness (grey levels)": "sharpness", "token entropy (nats)": "token_entropy"}
    return "".join(
        plot({title: [row[name] for row in rows]}, ends, f"frame (of each {STRETCH})", title)
        for title, name in curves.items()
    )


def opposites_part(rows: list[dict[str, Any]]) -> str:
    """rows: of opposites_parted."""
    head = ["after", *(rows[0]["parted"])]
    return table(head, [
        [f"{row['seconds']} s", *(f"{hits} of {row['rollouts']}" for hits in row["parted"].values())] for row in rows
    ])  # fmt: skip


def kept_sentence(kept: dict[str, int]) -> str:
    """kept: of hotbar_kept."""
    return (
        f"Over {kept['frames']} frames without a hotbar key, the selected slot is kept in {kept['slot']} and the "
        f"item in it in {kept['item']} of {kept['rollouts']} rollouts"
    )


def write_page(
    path: Path,
    scores: dict[str, Any],
    strips: Sequence[tuple[str, dict[str, NDArray[np.uint8]]]],
    long: Sequence[tuple[NDArray[np.int32], object]],
    pixels: Callable[[NDArray[np.int32]], NDArray[np.uint8]],
) -> None:
    """scores: those of scores.json; strips: title, source -> uint8 (n, H, W, 3); long: tokens of the long rollouts."""
    settings, picture_scores = scores["settings"], scores["picture"]
    frames = list(range(1, settings["frames"] + 1))
    names = ("model", "repeat", "reconstructed", "shuffled")
    facts = {**scores["provenance"], **{k: v for k, v in settings.items() if k != "sampler"}, **settings["sampler"]}
    facts["actions read by"] = scores["reader"]
    parts = [
        f"<h1>{html.escape(scores['checkpoint'])}</h1>",
        f"<p>{scores['episodes']} stretches of held-out clips, {settings['frames']} frames each after "
        f"{settings['context']} recorded ones, {settings['seeds']} rollout(s) each.</p>",
        "<h2>Does the picture follow the actions?</h2>",
        "<p>An inverse dynamics model reads the actions back from the pictures. Intervals: bootstrap over clips. A "
        "group that no clip uses is left out of the mean.</p>",
        following_part(scores),
        "<h2>Is it the picture that followed?</h2>",
        *(plot({n: picture_scores[f"{kind}_{n}"] for n in names}, frames, "frame", label)
          for kind, label in (("psnr", "PSNR, dB"), ("ssim", "SSIM"))),
        "<p>Fréchet distance to the recorded frames, on this project's own IDM features: "
        + ", ".join(f"{name} {value:.2f}" for name, value in scores["frechet_distance_on_idm_features"].items())
        + "."
        + "".join(
            f" {metric}: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()) + "."
            for metric, values in scores["published"].items()
        )
        + "".join(f" {name} was not computed: {why}." for name, why in scores["not_computed"].items())
        + "</p>",
        "<h2>Strips</h2><p><small>From above: "
        + "; ".join(TITLES.values()) + ". The first picture is the last recorded one.</small></p>",
        *(f"<h4>{html.escape(title)}</h4>" + picture(sheet(list(shown.values()))) for title, shown in strips),
    ]  # fmt: skip
    if scores["drift"]:
        parts += ["<h2>Drift: long rollouts on random actions</h2>", drift_part(scores["drift"])]
        for tokens, _ in long:
            picks = np.linspace(0, len(tokens) - 1, DRIFT_PICTURES).astype(int)
            parts.append(picture(sheet([pixels(tokens[picks])])))
    if scores["opposites"]:
        parts += [
            "<h2>Do opposite keys part the pictures, after random play?</h2>",
            opposites_part(scores["opposites"]),
        ]
    kept, tokenizer = scores["hotbar_kept"], scores["tokenizer"]
    if kept is not None:
        parts.append(f"<h2>Does the hotbar stay as it is?</h2><p>{kept_sentence(kept)}.</p>")
    parts += [
        "<h2>Image tokenizer</h2>",
        table(["", ""], [
            ["PSNR / SSIM", f"{tokenizer['psnr']:.2f} dB / {tokenizer['ssim']:.3f}"],
            *([f"PSNR, {part} of the tokens wrong", f"{v:.2f} dB"] for part, v in tokenizer["psnr_perturbed"].items()),
            *([f"PSNR, {name}", f"{value:.2f} dB"] for name, value in tokenizer["psnr_hud"].items()),
            ["selected slot / item in it read as from the frame",
             f"{tokenizer['slots_read']:.1%} / {tokenizer['items_read']:.1%}"],
            ["codes used / perplexity", f"{tokenizer['used']:.0%} / {tokenizer['perplexity']:.0f}"],
        ]),
        "<h2>Cost</h2>",
        f"<p>{cost(scores['speed'])}</p>",
        "<h2>Where this comes from</h2>", table(["", ""], [[name, str(value)] for name, value in facts.items()]),
    ]  # fmt: skip
    write_whole(path, scores["checkpoint"], parts)


def write_whole(path: Path, title: str, parts: Sequence[str]) -> None:
    """A self-contained page, written atomically."""
    page = f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(page + "".join(parts), encoding="utf-8")
    temporary.replace(path)
