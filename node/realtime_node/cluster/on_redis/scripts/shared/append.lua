-- Appends an entry to an inbox, which holds `entries` and `bytes` at most; returns its id, or false
-- when there is no such inbox: that of a node that the janitor has buried must not come back.
-- What an inbox takes is looked at with every 128th entry, and with every large one.
local function append(inbox, entries, bytes, header, payload)
  local id = redis.call(
    'XADD', inbox, 'NOMKSTREAM', 'MAXLEN', '~', entries, '1-*', header, payload)
  if id and (#payload > 65536 or string.sub(id, 3) % 128 == 0) then
    local used = redis.call('MEMORY', 'USAGE', inbox, 'SAMPLES', '0')
    local round = 0
    while used > tonumber(bytes) and round < 8 do
      -- Entries differ in size: a smaller part than the average says, and another look.
      local kept = math.floor(redis.call('XLEN', inbox) * bytes / used * 0.9)
      redis.call('XTRIM', inbox, 'MAXLEN', '=', math.max(kept, 1))
      used = redis.call('MEMORY', 'USAGE', inbox, 'SAMPLES', '0')
      round = round + 1
    end
  end
  return id
end
