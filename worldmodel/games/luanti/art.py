"""The texture pack: drawn from a colour table (art_table.py) and a few rules, no picture of the game is read.

A small world model sees 192 x 112 pixels through a tokenizer of a few bits a patch, so that every kind of block is told
by hue, lightness and one large mark, and the grid of the world by two tones: the faces of a cube are laid out in world
coordinates (Luanti's `align_style = "world"`), 2 x 2 nodes to a texture, light and dark in turns. Lines at every edge
show the grid too, but cost a tokenizer more (README.md has the table).

It knows pictures and names of files; `write_pack` puts them where the game looks. Ours, under the MIT licence.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from worldmodel.games.luanti.art_table import (
    BLADE,
    CUBES,
    FLAME,
    FLAME_HEART,
    HANDLE,
    HEADS,
    LIQUIDS,
    NODES,
    OVER_DIRT,
    PLANTS,
    TOOLS,
    Colour,
    Mark,
)

Picture = NDArray[np.uint8]  # (height, width, 3 or 4)

SIDE = 32  # pixels of a node's face
TILES = 2  # nodes a side of a world-aligned texture
SMOOTH = 4  # marks are drawn this much larger, then averaged


@dataclass(frozen=True, slots=True)
class Style:
    """How faces are drawn. checker: difference in brightness of neighbouring faces, as a share; edge: width of the
    darker edge in pixels of SIDE; edge_shade: brightness there; mark_shade: brightness of marks (over 1: lighter);
    highlight: how the block in reach is shown, one of Luanti's node_highlighting; filtered: mip maps and filters."""

    checker: float = 0.28
    edge: float = 0.0
    edge_shade: float = 1.0
    mark_shade: float = 0.72
    highlight: str = "none"
    filtered: bool = True


# Tried side by side (README.md has the table); "bold" is the one that is used.
STYLES = {
    "bold": Style(),
    "soft": Style(checker=0.16, edge=2.0, edge_shade=0.86),
    "lines": Style(checker=0.0, edge=3.0, edge_shade=0.62),
    "halo": Style(highlight="halo"),
}
DEFAULT_STYLE = "bold"


def game_settings(style: Style) -> dict[str, str]:
    """The game's settings that go with a style."""
    filtered = str(style.filtered).lower()
    return {
        "enable_clouds": "false",
        "leaves_style": "opaque",
        "node_highlighting": style.highlight,
        **dict.fromkeys(("mip_map", "bilinear_filter", "trilinear_filter"), filtered),
    }


# The hotbar's pictures have the sizes of the game's own, so that slots lie where they lay (data/hud.py).
BAR, SELECTED = (596, 78), (84, 84)
CRACK_STEPS = 5


def _mask(mark: Mark, side: int = SIDE) -> NDArray[np.float64]:
    """Coverage 0..1 of the mark, (side, side)."""
    picture = Image.new("L", (side * SMOOTH, side * SMOOTH))
    mark(ImageDraw.Draw(picture), side * SMOOTH)
    return np.asarray(picture, np.float64).reshape(side, SMOOTH, side, SMOOTH).mean((1, 3)) / 255


def _edge(style: Style) -> NDArray[np.float64]:
    """Brightness (SIDE, SIDE): 1 within, darker towards the edges, with a hint of light from above."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    from_edge = np.minimum.reduce([x, y, SIDE - x, SIDE - y])
    inside = np.clip(from_edge / style.edge, 0, 1) if style.edge else np.ones_like(x)
    return style.edge_shade + (1 - style.edge_shade) * inside


def _face(name: str, style: Style) -> NDArray[np.float64]:
    """One face, float (SIDE, SIDE, 3), 0..255 and beyond."""
    over = name.removesuffix("_side")
    if over in OVER_DIRT and over != name:
        face = _face("dirt", style)
        face[: SIDE // 4] = _face(over, style)[: SIDE // 4]
        return face
    colour, mark, shade = CUBES[name]
    face = np.array(colour) * _edge(style)[..., None]
    if mark is not None:
        shade = style.mark_shade if shade is None else shade
        face *= 1 + (shade - 1) * _mask(mark)[..., None]
    return face


def cube(name: str, style: Style) -> Picture:
    """The world-aligned texture of a cube's face, uint8 (SIDE * TILES, SIDE * TILES, 3)."""
    tones = 1 + style.checker * np.array([[0.5, -0.5], [-0.5, 0.5]])
    shade = np.kron(tones, np.ones((SIDE, SIDE)))[..., None]
    return (np.tile(_face(name, style), (TILES, TILES, 1)) * shade).clip(0, 255).astype(np.uint8)


def item(name: str, style: Style) -> Picture:
    """A single face as the hotbar shows it, uint8 (SIDE, SIDE, 3)."""
    return _face(name, style).clip(0, 255).astype(np.uint8)


def _drawn(rows: tuple[str, ...], colours: dict[str, Colour]) -> Picture:
    picture = np.zeros((len(rows), len(rows[0]), 4), np.uint8)
    for y, row in enumerate(rows):
        for x, character in enumerate(row):
            if character in colours:
                picture[y, x] = (*colours[character], 255)
    return picture


def _tool(name: str) -> Picture:
    head = HEADS[name]
    dark: Colour = (head[0] * 2 // 3, head[1] * 2 // 3, head[2] * 2 // 3)
    return _drawn(TOOLS[name], {"#": head, "+": dark, "o": HANDLE})


def _flower(colour: Colour) -> Picture:
    """A head of 8 pixels on a stem of 2, of 16 x 16."""
    picture = Image.new("RGBA", (16, 16))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((7, 9, 8, 15), (*BLADE, 255))
    draw.rectangle((4, 2, 11, 8), (*colour, 255))
    draw.rectangle((6, 4, 9, 6), (255, 240, 150, 255) if sum(colour) < 700 else (250, 190, 40, 255))
    return np.asarray(picture)


def _blades() -> Picture:
    picture = Image.new("RGBA", (16, 16))
    draw = ImageDraw.Draw(picture)
    for x, top in ((1, 7), (6, 3), (11, 6)):
        draw.polygon([(x, 15), (x + 3, 15), (x + 3, top), (x + 1, top)], (*BLADE, 255))
    return np.asarray(picture)


def _torch() -> Picture:
    """Where the game's torch mesh takes its stick from: columns 7 and 8, rows 6 to 15."""
    picture = Image.new("RGBA", (16, 16))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((7, 8, 8, 15), (*HANDLE, 255))
    draw.rectangle((6, 3, 9, 7), (*FLAME, 255))
    draw.rectangle((7, 4, 8, 7), (*FLAME_HEART, 255))
    return np.asarray(picture)


def _hotbar() -> Picture:
    width, height = BAR
    picture = Image.new("RGBA", BAR, (40, 42, 52, 255))
    draw = ImageDraw.Draw(picture)
    slot = (width - 2) / 9
    for index in range(9):
        left = round(1 + index * slot)
        draw.rectangle((left + 4, 5, round(left + slot) - 4, height - 9), (104, 108, 124, 255))
    return np.asarray(picture)


def _selected() -> Picture:
    picture = Image.new("RGBA", SELECTED)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, SELECTED[0] - 1, SELECTED[1] - 1), outline=(255, 255, 255, 255), width=11)
    return np.asarray(picture)


def _crosshair() -> Picture:
    """White with a dark rim, so that it shows on snow too."""
    picture = Image.new("RGBA", (15, 15))
    draw = ImageDraw.Draw(picture)
    for colour, grow in (((30, 30, 36, 255), 1), ((255, 255, 255, 255), 0)):
        draw.rectangle((1 - grow, 7 - grow, 13 + grow, 7 + grow), colour)
        draw.rectangle((7 - grow, 1 - grow, 7 + grow, 13 + grow), colour)
    return np.asarray(picture)


def _cracks() -> Picture:
    """CRACK_STEPS pictures of 16 x 16 one below the other: digging goes on."""
    frames = []
    for step in range(CRACK_STEPS):
        picture = Image.new("RGBA", (16, 16))
        draw = ImageDraw.Draw(picture)
        reach = 2 + step * 1.5
        for dx, dy in ((-1, -0.6), (0.9, -0.8), (-0.5, 1), (1, 0.7))[: 2 + step]:
            draw.line((8, 8, 8 + dx * reach, 8 + dy * reach), (20, 18, 24, 255), 2)
        frames.append(np.asarray(picture))
    return np.concatenate(frames)


def pictures(style: Style) -> tuple[dict[str, Picture], dict[str, Picture]]:
    """By file name without .png: those of the mod (world-aligned cubes) and those that replace the game's own."""
    cubes = {name for faces in NODES.values() for name in faces}
    ours = {f"worldmodel_{name}": cube(name, style) for name in sorted(cubes)}
    ours |= {f"worldmodel_item_{name}": item(name, style) for name in sorted(cubes)}
    torch = _torch()
    replaced = {
        **{name: _tool(name) for name in TOOLS},
        **{name: _flower(colour) for name, colour in PLANTS.items()},
        **{f"default_grass_{size}": _blades() for size in range(1, 6)},
        **{f"default_torch{kind}": torch for kind in ("_on_floor", "_on_floor_animated", "_animated")},
        "gui_hotbar": _hotbar(),
        "gui_hotbar_selected": _selected(),
        "crosshair": _crosshair(),
        "crack_anylength": _cracks(),
        "wieldhand": _drawn(("##",) * 2, {"#": (236, 186, 150)}),
        "halo": np.full((16, 16, 4), (255, 255, 255, 70), np.uint8),
    }
    return ours, replaced


def tiles() -> dict[str, Any]:
    """What the mod lays over the nodes: {node: {"tiles": [texture, ...], "item": [top, side] or none}}; textures
    without .png, in Luanti's order (top, bottom, sides)."""
    laid: dict[str, Any] = {}
    for node, faces in NODES.items():
        laid[node] = {"tiles": [f"worldmodel_{face}" for face in faces], "liquid": node in LIQUIDS}
        if node not in LIQUIDS:
            laid[node]["item"] = [f"worldmodel_item_{faces[0]}", f"worldmodel_item_{faces[-1]}"]
    return laid


def write_pack(pack: Path, mod: Path, style: Style) -> None:
    """Writes the pictures into the folder `pack` (Luanti's texture_path) and, with `art.json`, into that of the mod."""
    ours, replaced = pictures(style)
    for folder, named in ((mod / "textures", ours), (pack, replaced)):
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in named.items():
            Image.fromarray(picture).save(folder / f"{name}.png")
    (mod / "art.json").write_text(json.dumps(tiles()))
