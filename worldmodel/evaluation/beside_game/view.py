"""The game's camera as a pinhole: where a node shows in the picture, and how a picture moves with the player.

Angles in degrees, pitch down and yaw right positive; lengths in nodes; camera axes right, down, forward.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull, QhullError

from worldmodel.games.luanti.presets import SETTINGS

Matrix = NDArray[np.float64]

EYE_HEIGHT = 1.47  # nodes above the feet: minetest_game's player_api
FIELD_OF_VIEW = float(SETTINGS["fov"])  # from the top of the picture to its bottom
NEAR = 0.1
CORNERS = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
EDGES = [(a, b) for a in range(8) for b in range(a) if np.abs(CORNERS[a] - CORNERS[b]).sum() == 1]  # pairs of corners


def intrinsics(height: int, width: int) -> Matrix:
    """Camera coordinates -> pixels (column, row, 1), 3 x 3."""
    focal = height / 2 / math.tan(math.radians(FIELD_OF_VIEW) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])


def orientation(yaw: float, pitch: float) -> Matrix:
    """World (x, y up, z; yaw 0 looks along +z, 90 along +x) -> camera axes, 3 x 3."""
    a, p = math.radians(yaw), math.radians(pitch)
    right = (math.cos(a), 0.0, -math.sin(a))
    forward = (math.sin(a) * math.cos(p), -math.sin(p), math.cos(a) * math.cos(p))
    return np.array([right, np.cross(forward, right) * -1, forward])


def node_mask(
    node: tuple[float, float, float],
    feet: tuple[float, float, float],
    yaw: float,
    pitch: float,
    height: int,
    width: int,
    grow: float = 0.0,
    edge: int = 0,
) -> NDArray[np.bool_]:
    """Pixels (height, width) that the cube of a node covers; all False if it is behind the eye or out of view.

    grow: nodes by which the cube is larger on every side; edge: width in pixels of a band along all twelve edges that
    is left out: there the game draws the outline of the node that the crosshair points at.
    """
    eye, axes, camera = np.array(feet) + (0, EYE_HEIGHT, 0), orientation(yaw, pitch), intrinsics(height, width)

    def corners(larger: float) -> Matrix | None:
        """Pixels (8, 2), column and row, of CORNERS; None if one is behind the eye."""
        seen = axes @ (np.array(node) + CORNERS * (1 + 2 * larger) - eye).T
        return (camera @ (seen / seen[2]))[:2].T if (seen[2] > NEAR).all() else None

    mask = Image.new("1", (width, height))
    points, sharp = corners(grow), corners(0.0)
    if points is not None and sharp is not None:
        try:
            outline = points[ConvexHull(points).vertices]
        except QhullError:
            return np.asarray(mask)
        draw = ImageDraw.Draw(mask)
        draw.polygon([(float(x), float(y)) for x, y in outline], fill=1)
        for a, b in EDGES if edge else ():
            draw.line([*map(float, sharp[a]), *map(float, sharp[b])], fill=0, width=edge)
    return np.asarray(mask)
