#!lua flags=allow-oom
-- Writes the tombstone of a node whose lease has ended, before anything of it is cleaned.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] the other node's hash
-- KEYS[3] nodes of the partition by their last heartbeat
-- ARGV[1] the other node's id
-- ARGV[2] lease, ms
-- ARGV[3] life of a tombstone, ms
--
-- Returns {'OK'} when the node is dead, now or since before
--      or {'ALIVE'} when it came back or has been cleaned already, nothing written
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
local heartbeat = redis.call('ZSCORE', KEYS[3], ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if not heartbeat or tonumber(heartbeat) >= now - ARGV[2] then
  return { 'ALIVE' }
end
redis.call('HSET', KEYS[2], 'tombstone', '1')
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return { 'OK' }
