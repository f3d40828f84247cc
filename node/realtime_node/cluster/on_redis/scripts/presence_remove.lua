#!lua flags=allow-oom
-- Takes a client out of a channel's presence, unless another node has taken it over.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] the caller's set of channels with presence
-- KEYS[3] presence of the channel
-- ARGV[1] the caller's node id
-- ARGV[2] channel
-- ARGV[3] client
-- ARGV[4] 1: it was the caller's last client in this channel
--
-- Returns {'OK'}
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
local owner = ARGV[1] .. ' '
local entry = redis.call('HGET', KEYS[3], ARGV[3])
if entry and string.sub(entry, 1, #owner) == owner then
  redis.call('HDEL', KEYS[3], ARGV[3])
end
if ARGV[4] == '1' then
  redis.call('SREM', KEYS[2], ARGV[2])
end
return { 'OK' }
