#!lua flags=allow-oom
-- Leases permits out of the cluster's reconnect budget to the calling node.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] nodes of the partition by their last heartbeat
-- KEYS[3] traffic of the nodes
-- KEYS[4] the budget
-- KEYS[5] permits of the budget
-- ARGV[1] the caller's node id
-- ARGV[2] permits that the caller could use in a second
-- ARGV[3] whether the caller accepts clients: 1 or 0
-- ARGV[4] version of the budget that the caller knows; 0: its settings'
-- ARGV[5] that budget, connections per second for each node that accepts clients
-- ARGV[6] lease of life, ms
--
-- Returns {'OK', permits, the caller's part of the rate, ms to the next permit if there was none,
--          version, per node, nodes that accept, live nodes, arrivals per second}
--      or {'LAPSED'} when the caller's own heartbeat is too old, nothing written
--      or {'FENCED'}, nothing written

-- @budget
-- @pool

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since = now - ARGV[6]
if tonumber(caller[1]) < since then
  return { 'LAPSED' }
end
local version, per_node = newest_budget(KEYS[4], ARGV[4], ARGV[5])
local live, accepting, arrivals = count_traffic(KEYS[2], KEYS[3], since, ARGV[1], ARGV[3])
local pool = open_pool(KEYS[5], now)
local total = per_node * math.max(1, accepting)
local rate = math.max(total - math.max(0, arrivals - pool.explained), total * 0.1)
local permits, share, wait = take(pool, ARGV[1], tonumber(ARGV[2]), rate)
return {
  'OK', permits, string.format('%.6f', share), wait,
  version, per_node, accepting, live, string.format('%.3f', arrivals),
}
