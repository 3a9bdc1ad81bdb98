-- Sights to steer by: what they are built of. The file returns a function of `ground` (x, z -> land, height, water), which
-- returns the sights and which of them are tall. A sight is a function (put, x, y, z, random); y is the height of the
-- ground below. put(x, y, z, node, soft).

local SOFT = true -- a node that gives way to what is there
local FLOWERS = {
  "flowers:rose", "flowers:tulip", "flowers:dandelion_yellow", "flowers:geranium", "flowers:viola",
  "flowers:dandelion_white",
}
local FLAGS = { "wool:red", "wool:blue", "wool:white", "wool:violet", "wool:orange" }
local SHAFTS = { "default:sandstonebrick", "default:brick", "default:cobble" }
local WALLS = { "default:brick", "default:cobble", "default:wood" }

return function(ground)
  local function canopy(put, x, y, z, leaves, layers)
    for dy, radius in pairs(layers) do
      for dx = -radius, radius do
        for dz = -radius, radius do
          local corner = math.abs(dx) == radius and math.abs(dz) == radius and radius > 1
          if not corner then put(x + dx, y + dy, z + dz, leaves, SOFT) end
        end
      end
    end
  end

  local function trunk(put, x, y, z, node, height)
    for dy = 1, height do put(x, y + dy, z, node) end
  end

  local function on_ground(put, x, z, node, soft)
    local _, height, water = ground(x, z)
    if not water then put(x, height + 1, z, node, soft) end
  end

  local function patch(put, x, z, node, radius, percent, random)
    for dx = -radius, radius do
      for dz = -radius, radius do
        local drawn = random:next(1, 100) <= percent
        if drawn and dx * dx + dz * dz <= radius * radius then on_ground(put, x + dx, z + dz, node, SOFT) end
      end
    end
  end

  local SIGHTS = {
    tree = function(put, x, y, z, random)
      local height = random:next(4, 6)
      trunk(put, x, y, z, "default:tree", height)
      canopy(put, x, y + height, z, "default:leaves", { [-1] = 2, [0] = 2, [1] = 1, [2] = 0 })
    end,
    aspen = function(put, x, y, z, random)
      local height = random:next(6, 9)
      trunk(put, x, y, z, "default:aspen_tree", height)
      canopy(put, x, y + height, z, "default:aspen_leaves", { [-2] = 1, [-1] = 2, [0] = 1, [1] = 1 })
    end,
    pine = function(put, x, y, z, random)
      local height = random:next(5, 8)
      trunk(put, x, y, z, "default:pine_tree", height)
      canopy(put, x, y + height, z, "default:pine_needles", { [-3] = 2, [-2] = 1, [-1] = 2, [0] = 1, [1] = 0, [2] = 0 })
    end,
    cactus = function(put, x, y, z, random) trunk(put, x, y, z, "default:cactus", random:next(2, 4)) end,
    bush = function(put, x, y, z, random)
      put(x, y + 1, z, "default:leaves")
      local way = random:next(0, 1)
      on_ground(put, x + way, z + 1 - way, "default:leaves", SOFT)
    end,
    flowers = function(put, x, _, z, random)
      patch(put, x, z, FLOWERS[random:next(1, #FLOWERS)], random:next(2, 4), 30, random)
    end,
    grass = function(put, x, _, z, random) patch(put, x, z, "default:grass_4", random:next(2, 3), 25, random) end,
    outcrop = function(put, x, y, z, random)
      local radius = random:next(1, 2)
      for dx = -radius, radius do
        for dz = -radius, radius do
          local height = radius + 1 - math.max(math.abs(dx), math.abs(dz)) + random:next(-1, 1)
          for dy = 0, height do put(x + dx, y + dy, z + dz, "default:stone") end
        end
      end
    end,
    pillar = function(put, x, y, z, random)
      local height = random:next(4, 7)
      trunk(put, x, y, z, SHAFTS[random:next(1, #SHAFTS)], height)
      put(x, y + height + 1, z, FLAGS[random:next(1, #FLAGS)])
      put(x, y + height + 2, z, FLAGS[random:next(1, #FLAGS)])
    end,
    ruin = function(put, x, y, z, random)
      local node, side = WALLS[random:next(1, #WALLS)], random:next(2, 3)
      for i = -side, side do
        for dy = 1, random:next(1, 3) do put(x + i, y + dy, z - side, node) end
        for dy = 1, random:next(0, 3) do put(x - side, y + dy, z + i, node) end
      end
    end,
  }
  local TALL = { tree = true, aspen = true, pine = true, cactus = true, outcrop = true, pillar = true, ruin = true }
  return SIGHTS, TALL
end
