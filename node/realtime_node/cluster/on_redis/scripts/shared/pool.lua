-- The permits of an allowance, and who asked for them; `cluster.pool` is the same in Python and
-- tells how it works. The hash holds
--   level, at    permits left, and when that was, ms
--   n:<node>     when the node asked last, ms, and how many permits it could use in a second
--   q:<quarter>  permits given in that quarter of a second
-- Bound: fields of nodes go after two seconds, those of quarters after ten, all after a minute.
local BUCKET_S, LEASE_S, ASKER_LIFE_MS, EXPLAINED_S = 0.2, 0.1, 2000, 10

-- The most that was given within one second.
local function busiest(given)
  local most = 0
  for quarter, permits in pairs(given) do
    for back = 1, 3 do
      permits = permits + (given[quarter - back] or 0)
    end
    most = math.max(most, permits)
  end
  return most
end

local function open_pool(key, now)
  local pool = { key = key, now = now, quarter = math.floor(now / 250) }
  pool.wanted, pool.given, pool.stale = {}, {}, {}
  local fields = redis.call('HGETALL', key)
  for index = 1, #fields, 2 do
    local name, value = fields[index], fields[index + 1]
    local kind, rest = string.sub(name, 1, 2), string.sub(name, 3)
    if kind == 'n:' then
      local at, wanted = string.match(value, '^(%d+) (%d+)$')
      -- A clock that went back, with another primary, makes everything old.
      if math.abs(now - at) < ASKER_LIFE_MS then
        pool.wanted[rest] = tonumber(wanted)
      else
        pool.stale[#pool.stale + 1] = name
      end
    elseif kind == 'q:' then
      if math.abs(pool.quarter - rest) < 4 * EXPLAINED_S then
        pool.given[tonumber(rest)] = tonumber(value)
      else
        pool.stale[#pool.stale + 1] = name
      end
    else
      pool[name] = tonumber(value)
    end
  end
  pool.explained = busiest(pool.given)
  return pool
end

-- Gives `node` up to `wanted` permits; returns them, its part of the rate, and the milliseconds after
-- which there will be one, if there was none.
local function take(pool, node, wanted, rate)
  local capacity = math.max(1, rate * BUCKET_S)
  local elapsed = math.max(0, pool.now - (pool.at or 0)) / 1000
  local level = math.min(capacity, (pool.level or capacity) + rate * elapsed)
  pool.wanted[node] = wanted
  local most, weights = math.ceil(rate), 0
  for _, count in pairs(pool.wanted) do
    weights = weights + math.min(count, most)
  end
  local share = rate * math.min(wanted, most) / weights
  local permits = math.min(wanted, math.floor(level), math.max(1, math.floor(share * LEASE_S)))
  redis.call('HSET', pool.key,
    'level', string.format('%.6f', level - permits),
    'at', string.format('%.0f', pool.now),
    'n:' .. node, string.format('%.0f %.0f', pool.now, wanted),
    'q:' .. string.format('%.0f', pool.quarter),
    string.format('%.0f', (pool.given[pool.quarter] or 0) + permits))
  if #pool.stale > 0 then
    redis.call('HDEL', pool.key, unpack(pool.stale))
  end
  redis.call('PEXPIRE', pool.key, '60000')
  local wait = 0
  if permits == 0 then
    wait = math.max(0, math.ceil((1 - level) / rate * 1000))
  end
  return permits, share, wait
end
