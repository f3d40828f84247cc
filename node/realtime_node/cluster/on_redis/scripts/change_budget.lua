#!lua flags=allow-oom
-- Sets the reconnect budget of the cluster; asking for what is set already changes nothing.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] the budget
-- ARGV[1] version of the budget that the caller knows; 0: its settings'
-- ARGV[2] that budget, connections per second for each node that accepts clients
-- ARGV[3] what it shall be
--
-- Returns {'OK', version, per node}
--      or {'FENCED'}, nothing written

-- @budget

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
local version, per_node = newest_budget(KEYS[2], ARGV[1], ARGV[2])
if version == '0' or tonumber(per_node) ~= tonumber(ARGV[3]) then
  version = string.format('%.0f', version + 1)
  redis.call('HSET', KEYS[2], 'version', version, 'per_node', ARGV[3])
end
return { 'OK', version, ARGV[3] }
