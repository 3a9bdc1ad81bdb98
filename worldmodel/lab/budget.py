"""What a preset's training aims at, and how much of it there is."""

from __future__ import annotations

from dataclasses import dataclass

HUD = "luanti"
PERTURBATIONS = ("none", "near", "prior")


@dataclass(frozen=True, slots=True)
class Objectives:
    """What a tokenizer learns beside the reconstruction. perturb: wrong tokens are "near" codes, or drawn from a
    "prior" that is trained along; perturb_rate of the tokens, on perturbed_share of the frames; prior_weight: of that
    prior's loss for the encoder; align: weight of the cosine to the reader's features, of the decoder's, or of the
    align_code first numbers of a code; glyphs: share of the frames with a pasted digit. ValueError for an unknown
    perturbation."""

    perturb: str = "near"
    perturb_rate: float = 0.1
    perturbed_share: float = 0.25
    prior_weight: float = 0.0
    align: float = 0.0
    align_code: int = 0
    glyphs: float = 0.0

    def __post_init__(self) -> None:
        if self.perturb not in PERTURBATIONS:
            raise ValueError(f"perturb is one of {PERTURBATIONS}, got {self.perturb!r}")

    @property
    def with_prior(self) -> bool:
        return self.perturb == "prior" or self.prior_weight > 0


@dataclass(frozen=True, slots=True)
class Budget:
    """Steps, batches and data of the trainings and scores."""

    tokenizer_steps: int = 600
    """Steps of the tokenizer."""
    tokenizer_batch: int = 16
    """Frames a step."""
    prior_steps: int = 400
    """Steps of the tiny prior."""
    prior_batch: int = 32
    """Frames a step."""
    world_steps: int = 150
    """Steps of the world model."""
    world_batch: int = 3
    """Clips a step."""
    world_clip: int = 12
    """Frames of each."""
    train_clips: int = 24
    """Clips that are learnt from."""
    train_steps: int = 500
    """Steps of play of each."""
    val_clips: int = 6
    """Clips that are scored."""
    val_steps: int = 400
    """Steps of play of each."""
    episodes: int = 24
    """Rollouts."""
    episode_frames: int = 15
    """Frames of each."""
    context: int = 4
    """Recorded frames before them."""
    away: int = 6
    """Stretches that look away and back."""
    away_steps: int = 40
    """Steps that such a stretch has at most."""
    bf16: bool = True
    """Compute in bf16."""
    save_minutes: float = 3.0
    """The state is saved this often: the most that a kill loses."""
