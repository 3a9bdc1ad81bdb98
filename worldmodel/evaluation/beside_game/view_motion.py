"""How far the player turned or walked between two frames, in degrees and nodes, from the pixels alone.

The game's camera is known (view.py), so a turn is a homography, and so is a walk over level ground: of a grid of
turns or walks, the one that carries the first picture onto the second with the least error. Block matching in whole
pixels (motion.py) tells the sign; this tells how far, up to 14 degrees a step. It reads the pictures of a real game
and of a model alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from worldmodel.data.hud import REACH
from worldmodel.evaluation.beside_game.view import EYE_HEIGHT, Matrix, intrinsics, orientation
from worldmodel.evaluation.metrics.motion import world_weights
from worldmodel.types import Frame

Motion = tuple[float, float]
Stack = NDArray[np.float64]
Steps = Sequence[float]
Matrices = Callable[[Motion, Matrix], Matrix]
Region = Callable[[Stack, Matrix], NDArray[np.bool_]]

STRIDE = 3  # every third pixel of a row and of a column is compared
BLUR = 1.0  # pixels
MIN_SHARE = 0.35  # of the compared pixels that must lie in both pictures
BELOW = 0.12  # of a ray's length: how far below the horizon the ground must be to be looked at
# Reach of the search and its steps, each searched around the best of the one before.
MAX_TURN, TURN_STEPS = 14.0, (2.0, 0.5, 0.25)  # degrees
MAX_WALK, WALK_STEPS = 1.5, (0.15, 0.05)  # nodes: a sprint makes 1.2 in two steps

UP = np.array([0.0, 1.0, 0.0])


def _search(matrix: Callable[[Motion], Matrix], fit: Callable[[Stack, int], int], most: float, steps: Steps) -> Motion:
    """The motion whose matrix fits best: on a grid of the first step up to `most`, then on finer ones around it.

    fit: (matrices, thin) -> the best matrix, as every thin-th point tells: the first, large grid takes every second.
    """
    best, reach, thin = (0.0, 0.0), most, 2
    for step in steps:
        offsets = np.arange(-round(reach / step), round(reach / step) + 1) * step
        motions = [(float(best[0] + a), float(best[1] + b)) for a in offsets for b in offsets]
        best, reach, thin = motions[fit(np.stack([matrix(motion) for motion in motions]), thin)], step, 1
    return best


def _turn_matrix(turn: tuple[float, float], pitch: float, camera: Matrix) -> Matrix:
    """After-picture pixels -> before-picture pixels, for a turn of (pitch, yaw) degrees from `pitch` on."""
    before, after = orientation(0.0, pitch), orientation(turn[1], pitch + turn[0])
    return camera @ before @ after.T @ np.linalg.inv(camera)


def _walk_matrix(walk: tuple[float, float], pitch: float, camera: Matrix) -> Matrix:
    """The same for a walk of (forward, right) nodes: exact where the picture shows the level ground."""
    view = orientation(0.0, pitch)
    moved = np.array([walk[1], 0.0, walk[0]])  # world axes at yaw 0
    return camera @ view @ (np.eye(3) - np.outer(moved, UP) / EYE_HEIGHT) @ view.T @ np.linalg.inv(camera)


@lru_cache(maxsize=8)
def _points(height: int, width: int, hud: str, reach: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels that are compared, (3, P) columns, rows and ones, and the mask of the picture's world (height, width).
    reach: with those that the player can dig or build on."""
    world = world_weights(height, width, hud)
    if not reach and hud in REACH:
        world[REACH[hud].slices(height, width)] = 0
    rows, columns = np.mgrid[1 : height - 1 : STRIDE, 1 : width - 1 : STRIDE]
    keep = world[rows, columns] > 0
    return np.stack([columns[keep], rows[keep], np.ones(keep.sum())]).astype(np.float64), world


def _smooth(frame: Frame) -> NDArray[np.float64]:
    return gaussian_filter(frame.astype(np.float64).mean(2), BLUR)


def _errors(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    matrices: NDArray[np.float64],
    points: NDArray[np.float64],
    world: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(C,): how far each matrix (of C, 3, 3) is from carrying `before` onto `after`; infinite where too little fits."""
    height, width = before.shape
    x, y, z = np.moveaxis(matrices @ points, 1, 0)  # each (C, P)
    ahead = z > 0
    z = np.where(ahead, z, 1.0)
    x, y = x / z, y / z
    inside = ahead & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    inside &= world[np.round(y).astype(int), np.round(x).astype(int)] > 0
    seen = map_coordinates(before, [y, x], order=1, mode="nearest")
    target = after[points[1].astype(int), points[0].astype(int)]
    error = (np.abs(seen - target) * inside).sum(1) / np.maximum(inside.sum(1), 1)
    error[inside.mean(1) < MIN_SHARE] = np.inf
    return error


def _motion(
    frames: Sequence[Frame], hud: str, reach: bool, seen: Region, matrix: Matrices, most: float, steps: Steps
) -> Motion:
    """The one motion that carries each of the frames onto the next best. Where none fits, none.

    reach: see `_points`; seen: which of the points (3, P) are compared, for the camera's intrinsics; the rest as in
    `_search`."""
    if all(np.array_equal(before, after) for before, after in pairwise(frames)):
        return 0.0, 0.0
    height, width = frames[0].shape[:2]
    camera = intrinsics(height, width)
    points, world = _points(height, width, hud, reach)
    points = points[:, seen(points, camera)]
    smooth = [_smooth(frame) for frame in frames]

    def fit(matrices: Stack, thin: int) -> int:
        pairs = pairwise(smooth)
        error = np.sum([_errors(a, b, matrices, points[:, ::thin], world) for a, b in pairs], 0)
        return int(np.argmin(error)) if np.isfinite(error).any() else len(error) // 2

    return _search(lambda motion: matrix(motion, camera), fit, most, steps)


def view_turn(before: Frame, after: Frame, pitch: float, hud: str = "luanti") -> Motion:
    """Degrees (pitch, yaw) by which the view turned between two frames. pitch: of the view before.

    before, after: uint8 (H, W, 3).
    """

    def matrix(turn: Motion, camera: Matrix) -> Matrix:
        return _turn_matrix(turn, pitch, camera)

    def seen(points: Stack, camera: Matrix) -> NDArray[np.bool_]:
        return np.ones(points.shape[1], np.bool_)

    return _motion((before, after), hud, True, seen, matrix, MAX_TURN, TURN_STEPS)


def view_walk(frames: Sequence[Frame], pitch: float, hud: str = "luanti") -> Motion:
    """Nodes (forward, right) that the player walked from each frame to the next, at a steady pace, as the ground in the
    lower part tells.

    What is in reach is not looked at: the outline of the block there jumps from node to node while one walks.
    frames: two or more, uint8 (H, W, 3), at the same pitch and yaw.
    """

    def matrix(walk: Motion, camera: Matrix) -> Matrix:
        return _walk_matrix(walk, pitch, camera)

    def seen(points: Stack, camera: Matrix) -> NDArray[np.bool_]:
        rays = orientation(0.0, pitch).T @ np.linalg.inv(camera) @ points
        return rays[1] / np.linalg.norm(rays, axis=0) < -BELOW

    return _motion(frames, hud, False, seen, matrix, MAX_WALK, WALK_STEPS)
