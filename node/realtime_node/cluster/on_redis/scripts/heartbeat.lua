#!lua flags=allow-oom
-- Prolongs a node's lease and tells it whose lease has ended.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] nodes of the partition by their last heartbeat
-- KEYS[3] descriptions of the nodes
-- KEYS[4] generation of the partition
-- KEYS[5] clients left behind by nodes that are gone, by the end of their grace
-- ARGV[1] the caller's node id
-- ARGV[2] description of the caller
-- ARGV[3] lease, ms
--
-- Returns {'OK', generation, 1 if some grace has ended else 0, node whose lease has ended…}
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
local generation = redis.call('GET', KEYS[4])
if not caller[1] or caller[2] or not generation then
  return { 'FENCED' }
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_text = string.format('%.0f', now)
redis.call('HSET', KEYS[1], 'heartbeat', now_text)
redis.call('ZADD', KEYS[2], now_text, ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
local expired = redis.call(
  'ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.format('%.0f', now - ARGV[3]))
local due = redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', now_text, 'LIMIT', 0, 1)
return { 'OK', generation, #due, unpack(expired, 1, math.min(#expired, 1000)) }
