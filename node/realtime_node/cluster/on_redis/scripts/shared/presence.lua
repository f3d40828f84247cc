-- A channel's presence is counted while it changes, so that nobody has to read it for two numbers:
-- `counts` has the clients of each node in `n<node>`, and of each user in `u<user>`. Entries of nodes
-- that are gone belong to none.

local function count_one(counts, field, by)
  if redis.call('HINCRBY', counts, field, by) <= 0 then
    redis.call('HDEL', counts, field)
  end
end

local function count_owner(counts, entry, by)
  local node = string.match(entry, '^([^+ ]*)')
  if node ~= '' then
    count_one(counts, 'n' .. node, by)
  end
end

-- Counts an entry (`by` is 1) or no longer (-1). Its payload is a version byte and a msgpack array
-- that begins with the user.
local function count_entry(counts, entry, by)
  count_owner(counts, entry, by)
  local payload = string.sub(entry, string.find(entry, ' ', 1, true) + 2)
  local is_read, info = pcall(cmsgpack.unpack, payload)
  if is_read and type(info) == 'table' and type(info[1]) == 'string' then
    count_one(counts, 'u' .. info[1], by)
  end
end
