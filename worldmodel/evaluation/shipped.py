"""What is known of the shipped world and of its reader, as tables of their READMEs: JSON in, Markdown out."""

from __future__ import annotations

from statistics import mean
from typing import Any

from worldmodel.evaluation.following.comparison import markdown as table
from worldmodel.evaluation.following.comparison import mean_psnr
from worldmodel.evaluation.following.page import kept_sentence

Scores = dict[str, Any]


def scores_table(scores: Scores, codes: int) -> str:
    """codes: of the tokenizer."""
    tokenizer, rollout = scores["tokenizer"], scores["rollouts"]["sampled"]
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


def rollouts_table(scores: Scores) -> str:
    """PSNR by frame."""
    sampled, greedy = scores["rollouts"]["sampled"], scores["rollouts"]["greedy"]
    rows = [
        [str(index + 1), f"{a:.2f}", f"{b:.2f}", f"{c:.2f}"]
        for index, (a, b, c) in enumerate(
            zip(sampled["psnr_model"], greedy["psnr_model"], sampled["psnr_repeat"], strict=True)
        )
    ]
    return table(["frame", "model (as it is played)", "model (greedy)", "repeat the last frame"], rows)


def training_table(facts: Scores) -> str:
    return table(["", "tokenizer", "world model"], [
        [name, str(facts["tokenizer"][name]), str(facts["world"][name])] for name in facts["tokenizer"]
    ]) + f"\n\n{facts['note']}"  # fmt: skip


def following_table(title: str, scores: Scores) -> str:
    """An evaluation's action following, beside its ceilings and its control. title: the clips that it is of."""
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


def reader_table(found: Scores) -> str:
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


def game_table(scores: Scores) -> str:
    """The same start and the same actions in the real game and in nano: how many trials went as in the real game."""
    found = {(s["kind"], s["question"], s["source"]): s for s in scores["scores"] if s["group"] == "all"}
    asked = list(dict.fromkeys((kind, question) for kind, question, _ in found))
    sources = ("real", "tokenizer", "model", "frozen")
    rows = [
        [f"{kind}: {question}"]
        + [f"{found[kind, question, name]['hits']} of {found[kind, question, name]['n']}" for name in sources]
        for kind, question in asked
    ]
    return table(["", "the real game's frames", "reconstructed", "nano", "a picture that stands still"], rows)
