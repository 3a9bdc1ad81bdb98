"""Evaluations side by side, with MineWorld's published figures for reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.checkpoint import SHORT_HASH
from worldmodel.evaluation.following.tally import MODEL, REAL, RECONSTRUCTED, REPEAT, SHUFFLED
from worldmodel.parsing import read_json
from worldmodel.types import WorldModelError

SCORES = "scores.json"
HEAD = (
    "model", "data", "clips", "FPS", "precision", "recall", "F1 (95%)",
    "of F1 on real / reconstructed frames", "F1, other actions",
    "camera off, bins / degrees", "PSNR", "over repeating", "SSIM", "F1, last of first 100",
)  # fmt: skip
# Arxiv 2504.08388, tables 1 and 2 (parallel decoding; FPS on an A100). Their camera bins are VPT's 11, ours 21.
PUBLISHED = {
    "Oasis 500M": (2.58, 0.49, 0.44, 0.41, 2.60, 14.38, 0.36),
    "MineWorld 300M": (5.91, 0.72, 0.71, 0.70, 1.03, 15.13, 0.38),
    "MineWorld 700M": (3.18, 0.72, 0.71, 0.70, 1.04, 15.32, 0.38),
    "MineWorld 1.2B": (3.01, 0.76, 0.73, 0.73, 1.02, 15.69, 0.41),
}
OTHER_DATA = "other data: Minecraft, VPT"


def read_scores(folder: Path) -> dict[str, Any]:
    """scores.json of an evaluation. WorldModelError if there is none."""
    path = folder / SCORES
    if not path.is_file():
        raise WorldModelError(f"{folder} holds no evaluation ({SCORES}): worldmodel evaluate --out {folder} makes one")
    scores = read_json(path)
    if not isinstance(scores, dict) or "following" not in scores:
        raise WorldModelError(f"{path} is not of worldmodel evaluate")
    return scores


def camera_off(source: dict[str, Any], unit: str) -> float:
    """Mean over both axes. unit: "bins" or "degrees"."""
    return float(np.mean([axis[f"error_{unit}"] for axis in source["camera"].values()]))


def mean_psnr(scores: dict[str, Any], source: str) -> float:
    """Over all generated frames, in dB. source: of tally.PICTURED."""
    return float(np.mean(scores["picture"][f"psnr_{source}"]))


def drift_ratio(scores: dict[str, Any], name: str = "f1") -> float | None:
    """A figure (F1) of the last stretch of the long rollouts over that of the first."""
    rows = scores["drift"]
    return rows[-1][name] / rows[0][name] if rows and rows[0][name] else None


def row(scores: dict[str, Any]) -> list[str]:
    """One evaluation as HEAD names it."""
    sources, picture = scores["following"], scores["picture"]
    model = sources[MODEL]
    low, high = model["interval95"]["f1"]
    made, repeat = mean_psnr(scores, MODEL), mean_psnr(scores, REPEAT)
    drift, speed = drift_ratio(scores), scores["speed"]
    return [
        f"{scores['checkpoint']} ({scores['settings']['weights_sha256'][:SHORT_HASH]}, {scores['settings']['order']})",
        ", ".join(scores["settings"]["data"]),
        f"{scores['episodes']} x {scores['settings']['frames']}",
        f"{speed['fps']:.1f} ({scores['provenance']['cpu']})" if speed["frames"] else "-",
        f"{model['precision']:.3f}",
        f"{model['recall']:.3f}",
        f"{model['f1']:.3f} ({low:.3f} to {high:.3f})",
        " / ".join(f"{model['f1'] / sources[name]['f1']:.0%}" for name in (REAL, RECONSTRUCTED)),
        f"{sources[SHUFFLED]['f1']:.3f}" if SHUFFLED in sources else "-",
        f"{camera_off(model, 'bins'):.2f} / {camera_off(model, 'degrees'):.2f}",
        f"{made:.2f}",
        f"{made - repeat:+.2f}",
        f"{np.mean(picture[f'ssim_{MODEL}']):.3f}",
        "-" if drift is None else f"{drift:.0%}",
    ]


def published_rows() -> list[list[str]]:
    return [
        [name, OTHER_DATA, "-", f"{fps:.2f} (A100)", f"{p:.2f}", f"{r:.2f}", f"{f1:.2f}", "-", "-", f"{bins:.2f} / -"]
        + [f"{psnr:.2f}", "-", f"{ssim:.2f}", "-"]
        for name, (fps, p, r, f1, bins, psnr, ssim) in PUBLISHED.items()
    ]


def comparison(evaluations: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Rows of HEAD: the evaluations, then the published ones."""
    return [*(row(scores) for scores in evaluations), *published_rows()]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
