#!lua flags=allow-oom
-- Prolongs a node's lease, tells the others of its traffic, and tells it whose lease has ended and
-- what the reconnect budget is.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] nodes of the partition by their last heartbeat
-- KEYS[3] descriptions of the nodes
-- KEYS[4] generation of the partition
-- KEYS[5] traffic of the nodes
-- KEYS[6] the budget
-- KEYS[7] clients left behind by nodes that are gone, by the end of their grace
-- ARGV[1] the caller's node id
-- ARGV[2] description of the caller
-- ARGV[3] lease, ms
-- ARGV[4] whether the caller accepts clients: 1 or 0
-- ARGV[5] clients per second that came to it
-- ARGV[6] version of the budget that the caller knows; 0: its settings'
-- ARGV[7] that budget, connections per second for each node that accepts clients
-- ARGV[8] 1: count the traffic of all nodes, which is asked for in one partition only; or 0
--
-- Returns {'OK', generation, 1 if some grace has ended else 0, version, per node,
--          nodes that accept, live nodes, arrivals per second, node whose lease has ended…};
--          what was not counted is 0
--      or {'FENCED'}, nothing written

-- @budget

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
redis.call('HSET', KEYS[5], ARGV[1], ARGV[4] .. ' ' .. ARGV[5])
local since = now - ARGV[3]
local version, per_node = newest_budget(KEYS[6], ARGV[6], ARGV[7])
local live, accepting, arrivals = 0, 0, 0
if ARGV[8] == '1' then
  live, accepting, arrivals = count_traffic(KEYS[2], KEYS[5], since, ARGV[1], ARGV[4])
end
local due = redis.call('ZRANGEBYSCORE', KEYS[7], '-inf', now_text, 'LIMIT', 0, 1)
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.format('%.0f', since))
return {
  'OK', generation, #due, version, per_node, accepting, live, string.format('%.3f', arrivals),
  unpack(expired, 1, math.min(#expired, 1000)),
}
