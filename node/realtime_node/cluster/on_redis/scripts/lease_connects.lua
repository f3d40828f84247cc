#!lua flags=allow-oom
-- Leases permits out of a rate that is the whole cluster's to the calling node.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] permits
-- ARGV[1] the caller's node id
-- ARGV[2] permits that the caller could use in a second
-- ARGV[3] permits per second of the whole cluster
-- ARGV[4] lease of life, ms
--
-- Returns {'OK', permits, the caller's part of the rate, ms to the next permit if there was none}
--      or {'LAPSED'} when the caller's own heartbeat is too old, nothing written
--      or {'FENCED'}, nothing written

-- @pool

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(caller[1]) < now - ARGV[4] then
  return { 'LAPSED' }
end
local permits, share, wait =
  take(open_pool(KEYS[2], now), ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]))
return { 'OK', permits, string.format('%.6f', share), wait }
