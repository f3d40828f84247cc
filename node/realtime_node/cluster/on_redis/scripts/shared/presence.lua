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

-- Counts an entry (`by` is 1) or no longer (-1). Its payload is a version byte and a msgpack array of
-- four that begins with the user. Only the user is read: Redis' msgpack knows no binary data, which
-- may follow it.
local function count_entry(counts, entry, by)
  count_owner(counts, entry, by)
  local payload = string.sub(entry, string.find(entry, ' ', 1, true) + 2)
  local is_read, _, user = pcall(cmsgpack.unpack_one, payload, 1)
  if is_read and type(user) == 'string' then
    count_one(counts, 'u' .. user, by)
  end
end
