#!lua
-- Keeps what the team's backend said, unless its user was revoked since it was asked.
--
-- KEYS[1] the verdict
-- KEYS[2] how many revocations there have been
-- KEYS[3] the last revocation of its user
-- ARGV[1] user
-- ARGV[2] revocations when the backend was asked
-- ARGV[3] verdict
-- ARGV[4] its life, ms
--
-- Returns {'OK'}

local stamp = tonumber(ARGV[2])
-- A stamp from before Redis lost its data cannot be compared.
if stamp > tonumber(redis.call('GET', KEYS[2]) or '0') then
  return { 'OK' }
end
if stamp < tonumber(redis.call('GET', KEYS[3]) or '0') then
  return { 'OK' }
end
redis.call('HSET', KEYS[1], 'user', ARGV[1], 'stamp', ARGV[2], 'verdict', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return { 'OK' }
