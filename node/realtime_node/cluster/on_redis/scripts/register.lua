#!lua flags=allow-oom
-- Enters a new node into a partition: its lease begins, its inbox exists from here on.
--
-- KEYS[1] generation of the partition; made here if there is none
-- KEYS[2] the node's hash
-- KEYS[3] nodes of the partition by their last heartbeat
-- KEYS[4] descriptions of the nodes
-- KEYS[5] the node's inbox
-- ARGV[1] node id
-- ARGV[2] description of the node
-- ARGV[3] random part of a generation
-- ARGV[4] payload of the inbox's first entry
--
-- Returns {'OK', generation}
--      or {'FENCED'} when the id was used before, nothing written

if redis.call('EXISTS', KEYS[2], KEYS[5]) > 0 then
  return { 'FENCED' }
end
local time = redis.call('TIME')
local generation = redis.call('GET', KEYS[1])
if not generation then
  generation = ARGV[3] .. string.format('%x%05x', time[1], time[2])
  redis.call('SET', KEYS[1], generation)
end
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[2], 'heartbeat', now)
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
-- The first entry greets nobody: with it the inbox is never empty, and so its reader can always
-- compare its last entry with what it read.
redis.call('XADD', KEYS[5], '1-*', 'h0  ', ARGV[4])
return { 'OK', generation }
