#!lua flags=allow-oom
-- Writes the caller's own tombstone: whatever it sent before is done, nothing sent later counts.
--
-- KEYS[1] the caller's node hash
-- ARGV[1] life of a tombstone, ms
--
-- Returns {'OK'}

redis.call('HSET', KEYS[1], 'tombstone', '1')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return { 'OK' }
