"""How an image tokenizer's codes are used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def code_shares(codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """The share of each code that occurs, the most frequent first."""
    counts = np.unique(codes, return_counts=True)[1]
    return np.sort(counts / counts.sum())[::-1]


def token_entropy(codes: NDArray[np.integer]) -> float:
    """Entropy of the codes' use in nats: falls when pictures become alike or empty."""
    share = code_shares(codes)
    return float(-(share * np.log(share)).sum())


def perplexity(codes: NDArray[np.integer]) -> float:
    """exp of the entropy of the codes' use: how many of them, used alike, would be as various."""
    return float(np.exp(token_entropy(codes)))
