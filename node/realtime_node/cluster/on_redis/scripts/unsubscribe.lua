#!lua flags=allow-oom
-- Ends a node's interest in a channel, unless a later change has confirmed it.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] the caller's set of channels
-- KEYS[3] interest of the channel
-- ARGV[1] the caller's node id
-- ARGV[2] sequence of this change among the caller's changes of interest
-- ARGV[3] channel
--
-- Returns {'OK', 1 if it ended, 0 if a later change keeps it or there was none}
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end

local interest = redis.call('HMGET', KEYS[3], ARGV[1], '.version')
if interest[1] and tonumber(interest[1]) > tonumber(ARGV[2]) then
  return { 'OK', 0 }
end
redis.call('SREM', KEYS[2], ARGV[3])
if not interest[1] then
  return { 'OK', 0 }
end
redis.call('HDEL', KEYS[3], ARGV[1])
if redis.call('HLEN', KEYS[3]) == 1 then
  redis.call('DEL', KEYS[3])
else
  local time = redis.call('TIME')
  local version = math.max(tonumber(interest[2] or '0') + 1, time[1] * 1000000 + time[2])
  redis.call('HSET', KEYS[3], '.version', string.format('%.0f', version))
end
return { 'OK', 1 }
