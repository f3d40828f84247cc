#!lua flags=allow-oom
-- Writes the tombstone of a node whose lease has ended, before anything of it is cleaned. The first
-- call only suspects the node: what kept it from Redis may be over at this very moment (the
-- partition's slot was moving, its process stood still), and then it beats before it is asked again.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] the other node's hash
-- KEYS[3] nodes of the partition by their last heartbeat
-- ARGV[1] the other node's id
-- ARGV[2] lease, ms
-- ARGV[3] life of a tombstone, ms
-- ARGV[4] silence after it was suspected, ms
--
-- Returns {'OK'} when the node is dead, now or since before
--      or {'SUSPECTED'} when it has to be asked again
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
local other = redis.call('HMGET', KEYS[2], 'tombstone', 'suspected')
if not other[1] then
  -- A suspicion from before the last heartbeat was refuted by it.
  local suspected = tonumber(other[2] or '0')
  if suspected <= tonumber(heartbeat) then
    redis.call('HSET', KEYS[2], 'suspected', string.format('%.0f', now))
    return { 'SUSPECTED' }
  elseif now - suspected < tonumber(ARGV[4]) then
    return { 'SUSPECTED' }
  end
end
redis.call('HSET', KEYS[2], 'tombstone', '1')
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return { 'OK' }
