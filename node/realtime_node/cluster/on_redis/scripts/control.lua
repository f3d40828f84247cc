#!lua flags=allow-oom
-- Writes a control message into the inbox of every live node.
--
-- KEYS[1]  the caller's node hash
-- KEYS[2]  nodes of the partition by their last heartbeat
-- KEYS[3…] inboxes of the nodes that the caller knows
-- ARGV[1]  how long a node may have been silent and still counts, ms
-- ARGV[2]  payload
-- ARGV[3]  entries that an inbox may hold
-- ARGV[4]  bytes that an inbox may take
-- ARGV[5…] nodes that the caller knows, in the order of KEYS[3…]
--
-- Returns {'OK'}
--      or {'STALE_NODES', live node…} when one of them is not in ARGV[5…], nothing written
--      or {'FENCED'}, nothing written

-- @append

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end

local known = {}
for index = 5, #ARGV do
  known[ARGV[index]] = true
end
local time = redis.call('TIME')
local since = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[1]
local live = redis.call('ZRANGEBYSCORE', KEYS[2], string.format('%.0f', since), '+inf')
for _, node in ipairs(live) do
  if not known[node] then
    return { 'STALE_NODES', unpack(live, 1, math.min(#live, 1000)) }
  end
end

for index = 3, #KEYS do
  append(KEYS[index], ARGV[3], ARGV[4], 'c0  ', ARGV[2])
end
return { 'OK' }
