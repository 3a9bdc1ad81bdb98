-- Lands made to be seen: gentle ground in steps of one node, and sights to steer by in every direction. Written by our
-- own map generator (the engine's is "singlenode": empty), so that a land is the same for the same seed and nobody is
-- buried in caves or drowned: no hole under the ground, no water deeper than two nodes.
--
-- A place's kind and height come from smooth noise; sights from a grid of cells with one sight each at most, drawn from
-- the cell's own random numbers. A chunk asks all cells that can reach into it, so the order of chunks changes nothing.

local WATER_LEVEL, DEEPEST, TOP, BOTTOM = 0, -2, 47, -33
local CELL, REACH = 9, 6 -- nodes: a cell's side, and how far a sight may reach from its middle
local POND_CELL, POND_REACH = 40, 7

-- base, roll: mean height and height of its waves in nodes; at: the place among temperature and wetness where the land
-- lies when all are mixed; sights: how many of 100 cells have which.
local LANDS = {
  meadow = { base = 7, roll = 2.2, at = { 0.0, 0.0 }, sights = { flowers = 30, tree = 13, grass = 16, bush = 7, aspen = 4, outcrop = 3, pillar = 3, ruin = 2 } },
  forest = { base = 8, roll = 2.6, at = { 0.15, 0.75 }, sights = { tree = 46, aspen = 18, bush = 8, flowers = 10, outcrop = 3, pillar = 2, ruin = 2 } },
  shore = { base = 0.9, roll = 3.0, at = { 0.75, -0.1 }, sights = { cactus = 16, aspen = 5, grass = 5, outcrop = 5, pillar = 5, ruin = 4 } },
  hills = { base = 13, roll = 6.0, at = { -0.1, -0.75 }, sights = { outcrop = 14, pine = 12, flowers = 10, pillar = 4, ruin = 3 } },
  snow = { base = 8, roll = 3.4, at = { -0.8, 0.15 }, sights = { pine = 30, outcrop = 7, bush = 3, pillar = 4, ruin = 3 } },
}
-- To look at the art: even grass, and a block of each kind around the place where one begins. Not among the mixed.
local GALLERY = { base = 4, roll = 0, sights = {} }
local GALLERY_RADIUS = 5

local SHARPNESS = 14 -- of the borders between mixed lands

local land_name = minetest.settings:get("worldmodel_land")
local only = land_name == "gallery" and GALLERY or LANDS[land_name]
if not only and land_name ~= "mixed" then error("no land is called " .. tostring(land_name)) end

local seed = tonumber(minetest.get_mapgen_setting("seed"):sub(-9))
local function noise(number, spread, octaves)
  return PerlinNoise({
    offset = 0, scale = 1, spread = vector.new(spread, spread, spread),
    seed = seed + number * 7919, octaves = octaves, persist = 0.45, lacunarity = 2,
  })
end
local roll, warmth, wetness = noise(1, 100, 3), noise(2, 230, 2), noise(3, 230, 2)

-- Kind of land and height (a float) without ponds.
local function rough(x, z)
  local at = { x = x, y = z }
  local wave = roll:get_2d(at)
  if only then return only, math.max(DEEPEST, only.base + only.roll * wave) end
  local t, w = 1.3 * warmth:get_2d(at), 1.3 * wetness:get_2d(at)
  local best, best_weight, total, height = nil, -1, 0, 0
  for _, land in pairs(LANDS) do
    local weight = math.exp(-SHARPNESS * ((t - land.at[1]) ^ 2 + (w - land.at[2]) ^ 2)) + 1e-9
    total, height = total + weight, height + weight * (land.base + land.roll * wave)
    if weight > best_weight then best, best_weight = land, weight end
  end
  return best, math.max(DEEPEST, height / total)
end

local function random_of(cx, cz, salt)
  return PcgRandom((seed * 31 + cx * 73856093 + cz * 19349663 + salt * 83492791) % 2147483647)
end

-- Ponds: one node deep, on ground that is nearly even, so that the water lies still.
local ponds = {}
local function pond_of(cx, cz)
  local key = cx .. "," .. cz
  if ponds[key] ~= nil then return ponds[key] end
  local random = random_of(cx, cz, 2)
  local margin = POND_REACH + 1
  local x = cx * POND_CELL + random:next(margin, POND_CELL - margin)
  local z = cz * POND_CELL + random:next(margin, POND_CELL - margin)
  local radius, lot = random:next(3, POND_REACH - 2), random:next(1, 100)
  local pond = false
  if lot <= 45 then
    local low, high = math.huge, -math.huge
    for dx = -radius - 1, radius + 1 do
      for dz = -radius - 1, radius + 1 do
        local _, height = rough(x + dx, z + dz)
        low, high = math.min(low, math.floor(height)), math.max(high, math.floor(height))
      end
    end
    if low > WATER_LEVEL + 1 and high - low <= 2 then pond = { x = x, z = z, radius = radius, level = low } end
  end
  ponds[key] = pond
  return pond
end

local function in_pond(x, z)
  local pond = pond_of(math.floor(x / POND_CELL), math.floor(z / POND_CELL))
  if not pond then return nil end
  local far = math.sqrt((x - pond.x) ^ 2 + (z - pond.z) ^ 2)
  return far <= pond.radius + 0.3 and pond or nil
end

-- Land, height of the topmost solid node, and height of the water over it (nil where it is dry).
local function ground(x, z)
  local land, height = rough(x, z)
  local pond = in_pond(x, z)
  if pond then return land, pond.level - 1, pond.level end
  height = math.floor(height)
  return land, height, height < WATER_LEVEL and WATER_LEVEL or nil
end

local function top_node(land, height, water)
  if water or height <= WATER_LEVEL + 1 then return "sand" end
  if land == LANDS.snow then return "snowy" end
  if land == LANDS.shore and height <= 3 then return "sand" end
  if land == LANDS.hills and height >= 12 then return "stone" end
  return "grass"
end

local NODE = {
  stone = "default:stone", dirt = "default:dirt", sand = "default:sand", grass = "default:dirt_with_grass",
  snowy = "default:dirt_with_snow", water = "default:water_source",
}
local SIGHTS, TALL = dofile(minetest.get_modpath(minetest.get_current_modname()) .. "/sights.lua")(ground)

local names = {} -- in one order: pairs() has none
for name in pairs(SIGHTS) do names[#names + 1] = name end
table.sort(names)

-- The sight of a cell: kind and place, or nil.
local function sight_of(cx, cz)
  local random = random_of(cx, cz, 1)
  local x, z = cx * CELL + random:next(1, CELL - 2), cz * CELL + random:next(1, CELL - 2)
  local lot = random:next(1, 100)
  local land, height, water = ground(x, z)
  if water then return nil end
  for _, name in ipairs(names) do
    lot = lot - (land.sights[name] or 0)
    if lot <= 0 then return { kind = name, x = x, y = height, z = z, random = random } end
  end
  return nil
end

local ids = setmetatable({}, { __index = function(known, name)
  known[name] = minetest.get_content_id(name)
  return known[name]
end })

local buffer = {}
minetest.register_on_generated(function(minp, maxp)
  if minp.y > TOP then return end
  local manip, emin, emax = minetest.get_mapgen_object("voxelmanip")
  local area = VoxelArea:new({ MinEdge = emin, MaxEdge = emax })
  local data = manip:get_data(buffer)
  local air = minetest.CONTENT_AIR
  for z = minp.z, maxp.z do
    for x = minp.x, maxp.x do
      local land, height, water = ground(x, z)
      local top = top_node(land, height, water)
      local below = top == "grass" and "dirt" or top == "snowy" and "dirt" or top
      for y = minp.y, math.min(maxp.y, math.max(height, water or height)) do
        local name = y > height and "water" or y == height and top or y > height - 4 and below or "stone"
        data[area:index(x, y, z)] = ids[NODE[name]]
      end
    end
  end
  local function put(x, y, z, node, soft)
    if x < minp.x or x > maxp.x or y < minp.y or y > maxp.y or z < minp.z or z > maxp.z then return end
    local index = area:index(x, y, z)
    if not soft or data[index] == air then data[index] = ids[node] end
  end
  if maxp.y > BOTTOM then
    for cx = math.floor((minp.x - REACH) / CELL), math.floor((maxp.x + REACH) / CELL) do
      for cz = math.floor((minp.z - REACH) / CELL), math.floor((maxp.z + REACH) / CELL) do
        local sight = sight_of(cx, cz)
        if sight then SIGHTS[sight.kind](put, sight.x, sight.y, sight.z, sight.random) end
      end
    end
  end
  if only == GALLERY then
    local nodes = minetest.settings:get("worldmodel_gallery"):split(",")
    for index, node in ipairs(nodes) do
      local angle = (index - 1) * 2 * math.pi / #nodes
      local x, z = GALLERY_RADIUS * math.sin(angle), GALLERY_RADIUS * math.cos(angle)
      put(math.floor(x + 0.5), GALLERY.base + 1, math.floor(z + 0.5), node)
    end
  end
  manip:set_data(data)
  manip:calc_lighting()
  manip:write_to_map()
end)

-- Places to begin at: dry, and with something tall to see in each of four directions, near but not in the way.
local NEAREST, FARTHEST, SEARCH_STEP, SEARCH_RINGS, MAX_PLACES = 4, 26, 16, 24, 40

local function views(x, z)
  local quarters, in_the_way = {}, false
  local reach = math.ceil(FARTHEST / CELL)
  local cx, cz = math.floor(x / CELL), math.floor(z / CELL)
  for i = cx - reach, cx + reach do
    for j = cz - reach, cz + reach do
      local sight = sight_of(i, j)
      if sight and TALL[sight.kind] then
        local dx, dz = sight.x - x, sight.z - z
        local far = math.sqrt(dx * dx + dz * dz)
        if far < NEAREST then in_the_way = true end
        if far <= FARTHEST then quarters[math.floor(math.atan2(dx, dz) / (math.pi / 2)) % 4] = true end
      end
    end
  end
  local count = 0
  for _ in pairs(quarters) do count = count + 1 end
  return in_the_way and 0 or count
end

local function places()
  if only == GALLERY then return { vector.new(0, GALLERY.base + 1, 0) } end
  local best, others = {}, {}
  for ring = 0, SEARCH_RINGS do
    for i = -ring, ring do
      for j = -ring, ring do
        if math.max(math.abs(i), math.abs(j)) == ring then
          local x, z = i * SEARCH_STEP, j * SEARCH_STEP
          local _, height, water = ground(x, z)
          if not water then
            local seen = views(x, z)
            local list = seen == 4 and best or seen > 0 and others
            if list then list[#list + 1] = vector.new(x, height + 1, z) end
          end
          if #best == MAX_PLACES then return best end
        end
      end
    end
  end
  for _, place in ipairs(others) do best[#best + 1] = place end
  return best
end

return { places = places }
