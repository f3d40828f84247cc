#!lua flags=allow-oom
-- Enters a client as present in a channel, on behalf of the calling node.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] the caller's set of channels with presence
-- KEYS[3] presence of the channel
-- ARGV[1] the caller's node id
-- ARGV[2] channel
-- ARGV[3] client
-- ARGV[4] payload: who the client is
--
-- Returns {'OK'}
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
redis.call('HSET', KEYS[3], ARGV[3], ARGV[1] .. ' ' .. ARGV[4])
redis.call('SADD', KEYS[2], ARGV[2])
return { 'OK' }
