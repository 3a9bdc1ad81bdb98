"""Distances between pictures, and between sets of features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EQUAL_PSNR = 100.0  # dB that equal pictures count as, so that means stay finite


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """PSNR in dB a frame; a, b: uint8 (N, H, W, 3), b may broadcast. -> (N,), at most EQUAL_PSNR."""
    error = ((a.astype(np.float64) - b.astype(np.float64)) ** 2).mean((1, 2, 3))
    return np.minimum(10 * np.log10(255**2 / np.maximum(error, 1e-10)), EQUAL_PSNR)


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Structural similarity a frame (Wang et al. 2004; torchmetrics' Gaussian window). Shapes as in `psnr`."""
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    # Copied: torch warns of arrays that cannot be written, as stored frames are.
    x, y = (torch.from_numpy(np.array(f)).movedim(-1, 1).float() for f in (a, np.broadcast_to(b, a.shape)))
    values = structural_similarity_index_measure(x, y, data_range=255.0, reduction="none")
    assert isinstance(values, torch.Tensor), "no full image was asked for"
    return values.reshape(-1).double().numpy()


def sharpness(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean absolute difference of neighbouring pixels' brightness, a frame: falls when a picture melts. -> (N,)."""
    grey = frames.astype(np.float64).mean(-1)
    return (abs(np.diff(grey, axis=1)).mean((1, 2)) + abs(np.diff(grey, axis=2)).mean((1, 2))) / 2


def frechet_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Between Gaussians fitted to two sets of features, (N, D) each (Heusel et al. 2017, eq. 6)."""
    from scipy.linalg import sqrtm

    mean_a, mean_b = a.mean(0, dtype=np.float64), b.mean(0, dtype=np.float64)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(np.asarray(sqrtm(cov_a @ cov_b)))
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root))
