#!lua flags=allow-oom
-- Makes every verdict about a user worthless that the backend was asked for before.
--
-- KEYS[1] how many revocations there have been
-- KEYS[2] the last revocation of the user
-- ARGV[1] how long it has to be known, ms
--
-- Returns {'OK'}

local count = string.format('%.0f', tonumber(redis.call('GET', KEYS[1]) or '0') + 1)
redis.call('SET', KEYS[1], count)
redis.call('SET', KEYS[2], count, 'PX', ARGV[1])
return { 'OK' }
