"""How the real game is played: its options, and the files that it is started with."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from worldmodel.games.luanti.art import DEFAULT_STYLE, STYLES, game_settings, write_pack
from worldmodel.games.luanti.art_table import GALLERY
from worldmodel.games.luanti.presets import DEFAULT_LAND, PRESETS, SETTINGS

MOD_SOURCE = Path(__file__).with_name("mod")
WORLD_MT = """gameid = minetest
backend = dummy
world_name = world
creative_mode = false
enable_damage = false
player_backend = files
auth_backend = files
mod_storage_backend = files
load_mod_worldmodel = true
"""
MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class GameOptions:
    """width, height: pixels (below 256 of width the hotbar fills the screen); map_seed: of the terrain; preset: a
    name in PRESETS; viewing_range: nodes (the game's speed hangs on it); render_threads: of the software renderer
    (None: as many as cores); style: of our art, a name in art.STYLES; start_timeout, tick_timeout: seconds."""

    width: int = 384
    height: int = 224
    map_seed: int = 0
    preset: str = DEFAULT_LAND
    viewing_range: int = 40
    render_threads: int | None = None
    style: str = DEFAULT_STYLE
    start_timeout: float = 180.0
    tick_timeout: float = 60.0

    def __post_init__(self) -> None:
        if not (64 <= self.width <= 800 and 64 <= self.height <= 600):
            raise ValueError(f"the game's picture must be 64..800 x 64..600 pixels, got {self.width}x{self.height}")
        if not 0 <= self.map_seed <= MAX_SEED:
            raise ValueError(f"map_seed must be 0..{MAX_SEED}, got {self.map_seed}")
        if self.preset not in PRESETS:
            raise ValueError(f"unknown preset {self.preset!r}; known are {', '.join(PRESETS)}")
        if self.style not in STYLES:
            raise ValueError(f"unknown style {self.style!r}; known are {', '.join(STYLES)}")
        if not 10 <= self.viewing_range <= 400:
            raise ValueError(f"viewing_range must be 10..400 nodes, got {self.viewing_range}")
        if self.render_threads is not None and self.render_threads < 1:
            raise ValueError(f"render_threads must be at least 1, got {self.render_threads}")


USUAL = GameOptions()


def write_world(folder: Path, options: GameOptions) -> None:
    """Writes game.conf and a new world with our mod below `folder`."""
    preset = PRESETS[options.preset]
    mod = folder / "world/worldmods/worldmodel"
    shutil.copytree(MOD_SOURCE, mod)
    (folder / "world/world.mt").write_text(WORLD_MT)
    art: dict[str, str] = {}
    if preset.own_art:
        write_pack(folder / "pack", mod, STYLES[options.style])
        art = {"texture_path": str(folder / "pack"), "worldmodel_art": "true", **game_settings(STYLES[options.style])}
    settings = {
        **SETTINGS,
        **preset.settings,
        **art,
        "screen_w": options.width,
        "screen_h": options.height,
        "viewing_range": options.viewing_range,
        "fixed_map_seed": options.map_seed,
        "worldmodel_kit": ",".join(preset.kit),
        "worldmodel_biomes": ",".join(preset.biomes),
        "worldmodel_land": preset.land,
        "worldmodel_gallery": ",".join(GALLERY),
    }
    (folder / "game.conf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
