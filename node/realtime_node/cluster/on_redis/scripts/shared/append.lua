local call, sub = redis.call, string.sub

-- Cuts an inbox down to `limit` bytes, the oldest entries first.
local function bound(inbox, limit)
  local used = call('MEMORY', 'USAGE', inbox, 'SAMPLES', '0')
  local round = 0
  while used > limit and round < 8 do
    -- Entries differ in size: a smaller part than the average says, and another look.
    local kept = math.floor(call('XLEN', inbox) * limit / used * 0.9)
    call('XTRIM', inbox, 'MAXLEN', '=', math.max(kept, 1))
    used = call('MEMORY', 'USAGE', inbox, 'SAMPLES', '0')
    round = round + 1
  end
end

-- Appends an entry to an inbox, which holds `entries` and `bytes` at most; returns its id, or false
-- when there is no such inbox: that of a node that the janitor has buried must not come back.
-- What an inbox takes is looked at with every hundredth entry, and with every large one.
local function append(inbox, entries, bytes, header, payload)
  local id = call('XADD', inbox, 'NOMKSTREAM', 'MAXLEN', '~', entries, '1-*', header, payload)
  if id and (sub(id, -2) == '00' or #payload > 65536) then
    bound(inbox, tonumber(bytes))
  end
  return id
end
