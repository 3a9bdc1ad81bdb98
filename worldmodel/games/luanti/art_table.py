"""What the texture pack draws: of every kind of block its colour and its mark, which faces the game's nodes have, and
plants and tools. art.py draws it.
"""

from __future__ import annotations

from collections.abc import Callable

from PIL import ImageDraw

Colour = tuple[int, int, int]
Mark = Callable[[ImageDraw.ImageDraw, int], None]  # draws on a mask of `side` pixels a node

# Marks: white on the mask of one face


def _courses(draw: ImageDraw.ImageDraw, side: int) -> None:
    """Bricks: two courses, joints that do not meet."""
    joint = side // 10
    draw.rectangle((0, side // 2 - joint // 2, side, side // 2 + joint // 2), 255)
    draw.rectangle((side // 2 - joint // 2, 0, side // 2 + joint // 2, side // 2), 255)
    draw.rectangle((0, side // 2, joint // 2, side), 255)
    draw.rectangle((side - joint // 2, side // 2, side, side), 255)


def _planks(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.rectangle((0, side * 4 // 9, side, side * 5 // 9), 255)


def _frame(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.rectangle((side // 4, side // 4, side * 3 // 4, side * 3 // 4), 255)


def _chip(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.polygon([(side * x // 10, side * y // 10) for x, y in ((2, 7), (4, 3), (6, 4), (7, 7), (5, 8))], 255)


def _pebbles(draw: ImageDraw.ImageDraw, side: int) -> None:
    for x, y, r in ((0.28, 0.3, 0.18), (0.72, 0.34, 0.18), (0.48, 0.73, 0.2)):
        draw.ellipse([side * value for value in (x - r, y - r, x + r, y + r)], 255)


def _lobes(draw: ImageDraw.ImageDraw, side: int) -> None:
    for x in (0.25, 0.75):
        for y in (0.25, 0.75):
            draw.ellipse([side * value for value in (x - 0.19, y - 0.19, x + 0.19, y + 0.19)], 255)


def _needles(draw: ImageDraw.ImageDraw, side: int) -> None:
    for x in (0.0, 0.5):
        left, right = side * (x + 0.06), side * (x + 0.44)
        draw.polygon([(left, side * 0.85), (right, side * 0.85), ((left + right) / 2, side * 0.15)], 255)


def _bark(draw: ImageDraw.ImageDraw, side: int) -> None:
    for x in (0.14, 0.62):
        draw.rectangle((side * x, 0, side * (x + 0.22), side), 255)


def _bands(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.rectangle((0, side * 0.2, side * 0.6, side * 0.38), 255)
    draw.rectangle((side * 0.45, side * 0.66, side, side * 0.84), 255)


def _rings(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.ellipse((side * 0.12, side * 0.12, side * 0.88, side * 0.88), 255)
    draw.ellipse((side * 0.32, side * 0.32, side * 0.68, side * 0.68), 0)


# Kinds of cube: base colour, mark, brightness of the mark where it is not the style's
CUBES: dict[str, tuple[Colour, Mark | None, float | None]] = {
    "grass": ((112, 190, 70), None, None),
    "dirt": ((140, 92, 56), None, None),
    "stone": ((138, 142, 150), _chip, 0.84),
    "sand": ((240, 222, 160), None, None),
    "snow": ((236, 243, 252), None, None),
    "water": ((58, 116, 226), None, None),
    "tree": ((104, 70, 44), _bark, None),
    "tree_top": ((176, 134, 84), _rings, None),
    "leaves": ((44, 122, 52), _lobes, 1.22),
    "pine_tree": ((152, 86, 66), _bark, None),
    "pine_needles": ((24, 92, 92), _needles, 1.3),
    "aspen_tree": ((226, 222, 208), _bands, 0.35),
    "aspen_leaves": ((222, 168, 40), _lobes, 1.15),
    "cactus": ((76, 168, 60), _bark, None),
    "cactus_top": ((110, 196, 84), _rings, None),
    "cobble": ((104, 118, 166), _pebbles, 1.28),
    "wood": ((212, 146, 72), _planks, 0.66),
    "sandstone_brick": ((250, 208, 66), _courses, 0.76),
    "brick": ((198, 62, 50), _courses, 1.5),
    "red": ((226, 34, 60), _frame, 0.7),
    "blue": ((40, 60, 200), _frame, 1.35),
    "white": ((250, 250, 250), _frame, 0.8),
    "violet": ((146, 60, 190), _frame, 1.3),
    "orange": ((250, 126, 20), _frame, 0.75),
}
OVER_DIRT = ("grass", "snow")  # lie on dirt: their sides are dirt with a band

# Luanti's nodes and the cubes of their faces: top, bottom, sides; or all.
NODES: dict[str, tuple[str, ...]] = {
    "default:dirt_with_grass": ("grass", "dirt", "grass_side"),
    "default:dirt_with_snow": ("snow", "dirt", "snow_side"),
    "default:dirt": ("dirt",),
    "default:stone": ("stone",),
    "default:sand": ("sand",),
    "default:snowblock": ("snow",),
    "default:tree": ("tree_top", "tree_top", "tree"),
    "default:pine_tree": ("tree_top", "tree_top", "pine_tree"),
    "default:aspen_tree": ("tree_top", "tree_top", "aspen_tree"),
    "default:leaves": ("leaves",),
    "default:pine_needles": ("pine_needles",),
    "default:aspen_leaves": ("aspen_leaves",),
    "default:cactus": ("cactus_top", "cactus_top", "cactus"),
    "default:cobble": ("cobble",),
    "default:wood": ("wood",),
    "default:sandstonebrick": ("sandstone_brick",),
    "default:brick": ("brick",),
    "default:water_source": ("water",),
    "default:water_flowing": ("water",),
    "default:river_water_source": ("water",),
    "default:river_water_flowing": ("water",),
    "wool:red": ("red",),
    "wool:blue": ("blue",),
    "wool:white": ("white",),
    "wool:violet": ("violet",),
    "wool:orange": ("orange",),
}
LIQUIDS = frozenset(node for node in NODES if "water" in node)

# What a gallery shows: one node of each look.
GALLERY = tuple(node for node in NODES if node not in LIQUIDS and node != "default:snowblock")

PLANTS: dict[str, Colour] = {  # flowers by the colour of their heads
    "flowers_rose": (232, 30, 50),
    "flowers_tulip": (255, 130, 10),
    "flowers_dandelion_yellow": (255, 224, 30),
    "flowers_geranium": (50, 90, 240),
    "flowers_viola": (170, 60, 220),
    "flowers_dandelion_white": (255, 255, 255),
}
BLADE = (70, 148, 44)

# 16 x 16, one character a pixel; COLOURS_OF has the characters.
TOOLS = {
    "default_tool_diamondpick": (
        "................",
        "....######......",
        "...########+....",
        "...##....+++....",
        ".........oo##...",
        "........ooo##...",
        ".......ooo.###..",
        "......ooo...##..",
        ".....ooo....##..",
        "....ooo.....##..",
        "...ooo..........",
        "..ooo...........",
        ".ooo............",
        ".oo.............",
        "................",
        "................",
    ),
    "default_tool_diamondshovel": (
        "................",
        "..........####..",
        ".........######.",
        "........#######.",
        "........#######.",
        "........######..",
        ".......oo####...",
        "......ooo.......",
        ".....ooo........",
        "....ooo.........",
        "...ooo..........",
        "..ooo...........",
        ".ooo............",
        ".oo.............",
        "................",
        "................",
    ),
    "default_tool_diamondaxe": (
        "................",
        "......#####.....",
        ".....#######....",
        ".....########...",
        ".....####oo##...",
        "......##ooo##...",
        ".......ooo.##...",
        "......ooo.......",
        ".....ooo........",
        "....ooo.........",
        "...ooo..........",
        "..ooo...........",
        ".ooo............",
        ".oo.............",
        "................",
        "................",
    ),
}
HEADS = {
    "default_tool_diamondpick": (60, 205, 235),
    "default_tool_diamondshovel": (232, 236, 244),
    "default_tool_diamondaxe": (226, 70, 120),
}
HANDLE = (128, 84, 48)
FLAME, FLAME_HEART = (255, 150, 20), (255, 236, 120)
