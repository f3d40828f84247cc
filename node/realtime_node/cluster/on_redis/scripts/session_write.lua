#!lua flags=allow-oom
-- Replaces what a session's record holds, on behalf of the connection that owns it. A record that is
-- gone is made again: Redis lost it, or the node was taken for dead.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] record of the session
-- KEYS[3] the caller's set of sessions
-- ARGV[1] the caller's node id
-- ARGV[2] session
-- ARGV[3] user
-- ARGV[4] connection
-- ARGV[5] its token
-- ARGV[6] window, ms
-- ARGV[7] state
--
-- Returns {'OK'}
--      or {'LOST'} when a later connection owns the record, nothing written
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
local record = redis.call('HMGET', KEYS[2], 'token', 'connection')
if record[1] and record[2] ~= ARGV[4] and tonumber(record[1]) >= tonumber(ARGV[5]) then
  return { 'LOST' }
end
redis.call('HSET', KEYS[2], 'token', ARGV[5], 'connection', ARGV[4], 'owner', ARGV[1],
  'user', ARGV[3], 'window', ARGV[6], 'state', ARGV[7])
redis.call('HDEL', KEYS[2], 'ended')
redis.call('PERSIST', KEYS[2])
redis.call('SADD', KEYS[3], ARGV[2])
return { 'OK' }
