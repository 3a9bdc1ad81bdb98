-- World mod of the recorder: a fixed 9-slot kit that never runs out, sprint on aux1, and a log of the state, one JSON
-- object a server step, into the named pipe `state.pipe` of the world's folder. The server runs beside the client: a
-- state is that of the frame before the newest, or the one before that.

local KIT = minetest.settings:get("worldmodel_kit"):split(",")
local LAND = minetest.settings:get("worldmodel_land") or "" -- empty: the game's own map generator
local PATH = minetest.get_modpath(minetest.get_current_modname())
local BIOMES = minetest.settings:get("worldmodel_biomes") or "" -- empty: leave the stock biomes alone
local SPRINT_SPEED = 1.5
local EMERGE_REACH = vector.new(48, 24, 48) -- nodes around the player that must exist before play starts
local REFILL_SECONDS = 1
local SEARCH_STEP, SEARCH_RINGS, MAX_CANDIDATES = 24, 40, 30

-- Few biomes, so that a small model sees one coherent world. Decorations and ores go with the biomes when those are
-- cleared: all are registered again, and those of biomes that are gone never show.
local function restrict_biomes(names)
  local keep = {}
  for _, name in ipairs(names) do keep[name] = true end
  local biomes = table.copy(minetest.registered_biomes)
  local decorations = table.copy(minetest.registered_decorations)
  local ores = table.copy(minetest.registered_ores)
  minetest.clear_registered_biomes()
  minetest.clear_registered_decorations()
  minetest.clear_registered_ores()
  for name, biome in pairs(biomes) do
    if keep[name] then minetest.register_biome(biome) end
  end
  for _, decoration in pairs(decorations) do minetest.register_decoration(decoration) end
  for _, ore in pairs(ores) do minetest.register_ore(ore) end
end
if BIOMES ~= "" then restrict_biomes(BIOMES:split(",")) end
local land = LAND ~= "" and dofile(PATH .. "/lands.lua") or nil
if minetest.settings:get("worldmodel_art") then dofile(PATH .. "/art.lua") end
-- Nothing grows or spreads by itself in our lands: what is seen changes by the player's hand alone.
if land then
  minetest.register_on_mods_loaded(function()
    for index in pairs(minetest.registered_abms) do minetest.registered_abms[index] = nil end
  end)
end

-- Setting a stack shows on the screen, so only what differs from the kit is set.
local function refill(player)
  local inventory = player:get_inventory()
  for slot = 1, inventory:get_size("main") do
    local wanted = ItemStack(KIT[slot] or "")
    local stack = inventory:get_stack("main", slot)
    if stack:get_name() ~= wanted:get_name() or stack:get_count() ~= wanted:get_count() or stack:get_wear() > 0 then
      inventory:set_stack("main", slot, wanted)
    end
  end
end

-- Dug nodes go nowhere, placed ones cost nothing, and Q drops one item, not the stack.
function minetest.handle_node_drops() end
local drop_stack = minetest.item_drop
function minetest.item_drop(stack, dropper, pos)
  local one = stack:take_item()
  drop_stack(one, dropper, pos)
  return stack
end

local events = {}
local function happened(kind, node, pos)
  events[#events + 1] = { kind = kind, node = node.name, x = pos.x, y = pos.y, z = pos.z }
end
minetest.register_on_dignode(function(pos, node) happened("dig", node, pos) end)
minetest.register_on_placenode(function(pos, node)
  happened("place", node, pos)
  return true
end)

-- The engine draws the place of a new player at random; the same seed must begin at the same place. Squares around
-- the origin are searched for dry ground, then, once that land has been made, for room to stand (no tree there).
local function candidates()
  local found = {}
  for ring = 0, SEARCH_RINGS do
    for i = -ring, ring do
      for j = -ring, ring do
        if math.max(math.abs(i), math.abs(j)) == ring then
          local x, z = i * SEARCH_STEP, j * SEARCH_STEP
          local y = minetest.get_spawn_level(x, z)
          if y then found[#found + 1] = vector.new(x, y, z) end
          if #found == MAX_CANDIDATES then return found end
        end
      end
    end
  end
  return found
end

local function is_room(pos)
  for height = 0, 2 do
    local node = minetest.get_node(vector.offset(pos, 0, height, 0))
    local definition = minetest.registered_nodes[node.name]
    if not definition or definition.walkable or definition.liquidtype ~= "none" then return false end
  end
  return true
end

local function emerge(pos, done)
  local low, high = vector.subtract(pos, EMERGE_REACH), vector.add(pos, EMERGE_REACH)
  minetest.emerge_area(low, high, function(_, _, remaining)
    if remaining == 0 then done() end
  end)
end

local ready = false
local function settle(player, places, at)
  local pos = places[at]
  if not pos then error("no place to begin at in this land: take another seed") end
  player:set_pos(pos)
  emerge(pos, function()
    -- The ground can be a little lower than the map generator says.
    for _ = 1, 4 do
      if not is_room(vector.offset(pos, 0, -1, 0)) then break end
      pos = vector.offset(pos, 0, -1, 0)
    end
    if not is_room(pos) then return settle(player, places, at + 1) end
    player:set_pos(vector.offset(pos, 0, -0.5, 0))
    ready = true
  end)
end

minetest.register_on_joinplayer(function(player)
  player:hud_set_hotbar_itemcount(9)
  player:set_look_horizontal(0)
  player:set_look_vertical(0)
  refill(player)
  settle(player, land and land.places() or candidates(), 1)
end)

-- Name and place of the node that the player's crosshair points at, if one is in reach; and whether a block that is
-- placed against it would be round the player's head, or so near that a step is enough: the game allows it where one
-- stands between two nodes, and all is black then.
local REACH = 4
local ELBOW_ROOM = 0.35
local function pointed(player, eye)
  local hit = minetest.raycast(eye, vector.add(eye, vector.multiply(player:get_look_dir(), REACH)), false, false):next()
  if not hit then return nil, false end
  local under, apart = hit.under, vector.apply(vector.subtract(eye, hit.above), math.abs)
  local buries = math.max(apart.x, apart.z) < 0.5 + ELBOW_ROOM and apart.y < 0.5 + ELBOW_ROOM
  return { node = minetest.get_node(under).name, x = under.x, y = under.y, z = under.z }, buries
end

local pipe = assert(io.open(minetest.get_worldpath() .. "/state.pipe", "w"))
local clock, refilled = 0, 0
local TREE_STEPS, TREE_RADIUS = 10, 10 -- server steps between two searches for a tree; nodes
local WALL_NODES, WALL_TURNS = 2, { -0.4, 0, 0.4 } -- how near a wall is, and the turns (in radians) that must all meet it
local steps, tree = 0, nil

-- Whether something as high as the eyes fills the view, whichever way up or down that looks.
local function is_walled(player)
  local eye = vector.offset(player:get_pos(), 0, 1.6, 0)
  for _, turn in ipairs(WALL_TURNS) do
    local yaw, hit = player:get_look_horizontal() + turn, false
    local reach = vector.offset(eye, -WALL_NODES * math.sin(yaw), 0, WALL_NODES * math.cos(yaw))
    for thing in minetest.raycast(eye, reach, false, false) do
      local definition = minetest.registered_nodes[minetest.get_node(thing.under).name]
      hit = hit or not definition or definition.walkable
    end
    if not hit then return false end
  end
  return true
end

minetest.register_globalstep(function(dtime)
  clock = clock + dtime
  local player = minetest.get_connected_players()[1]
  if not player then return end
  if clock - refilled > REFILL_SECONDS then
    refilled = clock
    refill(player)
  end
  local control = player:get_player_control()
  local speed = (control.aux1 and control.up and not control.sneak) and SPRINT_SPEED or 1
  if player:get_physics_override().speed ~= speed then player:set_physics_override({ speed = speed }) end

  local pos = player:get_pos()
  if steps % TREE_STEPS == 0 then tree = minetest.find_node_near(pos, TREE_RADIUS, { "group:tree" }) end
  steps = steps + 1
  local head = vector.offset(pos, 0, 1.5, 0)
  local feet = vector.offset(pos, 0, 0.3, 0)
  local what, buries = pointed(player, vector.offset(pos, 0, player:get_properties().eye_height, 0))
  local function is_water(at) return minetest.get_item_group(minetest.get_node(at).name, "water") > 0 end
  pipe:write(minetest.write_json({
    clock = clock,
    ready = ready,
    x = pos.x,
    y = pos.y,
    z = pos.z,
    yaw = -math.deg(player:get_look_horizontal()) % 360,
    pitch = math.deg(player:get_look_vertical()),
    slot = player:get_wield_index() - 1,
    wet = is_water(head) and 2 or is_water(feet) and 1 or 0,
    light = minetest.get_node_light(head, 0.5) or 15,
    pointed = what,
    buries = buries,
    walled = is_walled(player),
    tree = tree and { x = tree.x, y = tree.y, z = tree.z },
    events = #events > 0 and events or nil,
  }), "\n")
  pipe:flush()
  events = {}
end)
