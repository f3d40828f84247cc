#!lua flags=allow-oom
-- Writes the caller's own tombstone: whatever it sent before is done, nothing sent later counts.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] nodes of the partition by their last heartbeat
-- ARGV[1] life of a tombstone, ms
-- ARGV[2] the caller's node id
--
-- Returns {'OK'}

redis.call('HSET', KEYS[1], 'tombstone', '1')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
-- What of its clients stays longer does so from now on.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('ZADD', KEYS[2], 'XX', now, ARGV[2])
return { 'OK' }
