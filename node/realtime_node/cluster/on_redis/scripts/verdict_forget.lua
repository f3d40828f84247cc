#!lua flags=allow-oom
-- Drops a verdict.
--
-- KEYS[1] the verdict
--
-- Returns {'OK'}

redis.call('DEL', KEYS[1])
return { 'OK' }
