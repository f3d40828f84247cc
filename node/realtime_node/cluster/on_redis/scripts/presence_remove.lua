#!lua flags=allow-oom
-- Takes a client out of a channel's presence, unless another node or a later connection of its
-- session has taken it over.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] the caller's set of channels with presence
-- KEYS[3] presence of the channel
-- KEYS[4] counts of its clients
-- ARGV[1] the caller's node id
-- ARGV[2] channel
-- ARGV[3] client
-- ARGV[4] 1: it was the caller's last client in this channel
-- ARGV[5] token of the client's session, 0: none
--
-- Returns {'OK', 1 if the entry was there and is gone, else 0}
--      or {'FENCED'}, nothing written

-- @presence

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
local removed = 0
local entry = redis.call('HGET', KEYS[3], ARGV[3])
if entry then
  local node, token = string.match(entry, '^(%x*)%+%d+%+(%d+)%+')
  node = node or string.match(entry, '^(%S*) ')
  if node == ARGV[1] and tonumber(token or '0') <= tonumber(ARGV[5]) then
    redis.call('HDEL', KEYS[3], ARGV[3])
    count_entry(KEYS[4], entry, -1)
    removed = 1
  end
end
if ARGV[4] == '1' then
  redis.call('SREM', KEYS[2], ARGV[2])
end
return { 'OK', removed }
