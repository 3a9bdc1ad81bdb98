"""The game's worlds and settings, in one table.

Lands of our own (mod/lands.lua) in our own art (art.py), and the game's own land in the game's own art.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from worldmodel.types import WorldModelError

TOOL_SLOTS = (0, 1, 2)
BLOCK_SLOTS = (3, 4, 5, 6, 7, 8)
KIT = (
    "default:pick_diamond",
    "default:shovel_diamond",
    "default:axe_diamond",
    "default:dirt 99",
    "default:cobble 99",
    "default:wood 99",
    "default:torch 99",
    "default:sandstonebrick 99",
    "default:brick 99",
)


# One of each, so that no numbers stand in the hotbar: placing takes none away.
SINGLE_KIT = tuple(item.split()[0] for item in KIT)


@dataclass(frozen=True, slots=True)
class Preset:
    """One kind of world. land: of our own map generator ("": the game's); biomes: of the game's to keep (empty: all);
    settings: of the game, over SETTINGS; kit: item strings of the 9 hotbar slots (tools in TOOL_SLOTS, blocks in
    BLOCK_SLOTS); own_art: our texture pack, or the game's own pictures."""

    land: str = ""
    biomes: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    kit: tuple[str, ...] = KIT
    own_art: bool = False


_STOCK_ART = {
    "enable_clouds": "true",
    "leaves_style": "simple",
    # The outline of the block that the crosshair points at is the only sign of the game's grid on plain grass: where a
    # block would be placed, what would be dug. The usual thin black line does not survive an image tokenizer at 192 x
    # 112; one of this width does, and white stands out from grass, wood and dark holes alike.
    "node_highlighting": "box",
    "selectionbox_width": "5",
    "selectionbox_color": "(255,255,255)",
}
_GREEN = ("grassland", "deciduous_forest")
_LAYERS = ("", "_dunes", "_shore", "_ocean", "_under")

# Of mod/lands.lua. mixed: the five after it in one world; gallery: a block of each kind, to look at the art.
LANDS = ("mixed", "meadow", "forest", "shore", "hills", "snow", "gallery")

PRESETS: dict[str, Preset] = {
    **{
        land: Preset(
            land=land,
            settings={"mg_name": "singlenode", "mg_flags": "nocaves,nodungeons,light,nodecorations,nobiomes"},
            kit=SINGLE_KIT,
            own_art=True,
        )
        for land in LANDS
    },
    # Temperate and dry: caves and seas (buried or drowned players see black) spoil a small model's world.
    "grassland": Preset(
        biomes=tuple(f"{biome}{layer}" for biome in _GREEN for layer in _LAYERS),
        settings={
            **_STOCK_ART,
            "mg_flags": "nocaves,nodungeons,light,decorations,biomes",
            "mgv7_np_terrain_base": "30, 25, (600, 600, 600), 82341, 5, 0.6, 2.0",
            "mgv7_np_terrain_alt": "26, 14, (600, 600, 600), 5934, 5, 0.6, 2.0",
            "mgv7_spflags": "nomountains,noridges,nofloatlands,nocaverns,biomeblend",
        },
    ),
    "default": Preset(settings=_STOCK_ART),
}

GAME = "luanti"  # the world's name; "luanti:LAND" is one of PRESETS
DEFAULT_LAND = LANDS[0]


def land_of(world: str) -> str | None:
    """ "luanti" or "luanti:LAND" -> the preset's name; None for a name of another world. WorldModelError for an
    unknown land."""
    game, _, land = world.partition(":")
    if game != GAME:
        return None
    if land and land not in PRESETS:
        raise WorldModelError(f"the real game has no land {land!r}; known are {', '.join(PRESETS)}")
    return land or DEFAULT_LAND


KEYMAP = {
    "keymap_forward": "KEY_KEY_W",
    "keymap_backward": "KEY_KEY_S",
    "keymap_left": "KEY_KEY_A",
    "keymap_right": "KEY_KEY_D",
    "keymap_jump": "KEY_SPACE",
    "keymap_sneak": "KEY_LSHIFT",
    "keymap_aux1": "KEY_LCONTROL",
    "keymap_drop": "KEY_KEY_Q",
}

SETTINGS = {
    # An even, cheap picture: no bobbing, no shaders, always noon.
    "fullscreen": "false",
    "vsync": "false",
    "enable_shaders": "false",
    "smooth_lighting": "false",
    "opaque_water": "true",
    "view_bobbing_amount": "0",
    "arm_inertia": "false",
    "enable_minimap": "false",
    "texture_min_size": "16",
    "fov": "70",
    "time_speed": "0",
    "world_start_time": "12000",
    # Text and hotbar small enough for 384 x 224.
    "gui_scaling": "0.5",
    "hud_scaling": "0.5",
    "font_size": "8",
    "mono_font_size": "8",
    "show_debug": "false",
    # 0.15 degrees of turn a pixel of mouse motion, as in VPT: the engine's factor is not 1.
    "mouse_sensitivity": "0.155640",
    "cinematic": "false",
    "camera_smoothing": "0",
    # One server step a frame, and no waiting for a clock that stands still.
    "dedicated_server_step": "0.05",
    "fps_max": "1000",
    "fps_max_unfocused": "1000",
    "pause_on_lost_focus": "false",
    "enable_sound": "false",
    "enable_client_modding": "false",
    "autojump": "false",
    "doubletap_jump": "false",
    "creative_mode": "false",
    "enable_damage": "false",
    "name": "singleplayer",
    "bind_address": "127.0.0.1",  # its server is nobody else's
    "ipv6_server": "false",
    "mg_name": "v7",
    **KEYMAP,
}
