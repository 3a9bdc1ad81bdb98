-- Lays our pictures over the game's nodes: cubes by world coordinates, two nodes to a texture, so that neighbours have
-- two tones and the grid is seen without lines. art.py wrote art.json beside this file and the pictures into textures/.
-- An even sky and no sun, moon, stars or clouds: what drifts costs a small model bits and tells it nothing.

local path = minetest.get_modpath(minetest.get_current_modname())
local file = assert(io.open(path .. "/art.json"))
local ART = minetest.parse_json(file:read("*a"))
file:close()

local function world_aligned(name)
  return { name = name .. ".png", align_style = "world", scale = 2 }
end

for node, art in pairs(ART) do
  local definition = minetest.registered_nodes[node]
  assert(definition, "art for a node that the game does not have: " .. node)
  local tiles = {}
  for index, name in ipairs(art.tiles) do tiles[index] = world_aligned(name) end
  local change = { tiles = tiles, overlay_tiles = {} }
  if art.liquid then
    change.special_tiles = { tiles[1], tiles[1] }
  else
    local top, side = art.item[1] .. ".png", art.item[2] .. ".png"
    change.inventory_image = minetest.inventorycube(top, side, side)
    change.wield_image = ""
    -- Solid leaves: holes in them are noise at this size, and cost the renderer time.
    if definition.drawtype == "allfaces_optional" then change.drawtype, change.paramtype = "normal", "light" end
    change.special_tiles = {}
  end
  minetest.override_item(node, change)
end

minetest.register_on_joinplayer(function(player)
  player:set_sky({
    type = "regular",
    clouds = false,
    sky_color = {
      day_sky = "#4f9df0",
      day_horizon = "#cfe4f8",
      fog_tint_type = "custom",
      fog_sun_tint = "#cfe4f8",
      fog_moon_tint = "#cfe4f8",
    },
  })
  player:set_sun({ visible = false, sunrise_visible = false })
  player:set_moon({ visible = false })
  player:set_stars({ visible = false })
end)
