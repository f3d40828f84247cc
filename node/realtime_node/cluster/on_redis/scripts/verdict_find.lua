#!lua flags=no-writes
-- Looks for what the team's backend said, unless its user was revoked since.
--
-- The revocation's key is known only by what the verdict says; it has the slot of the others.
--
-- KEYS[1] the verdict
-- KEYS[2] how many revocations there have been
-- ARGV[1] what the names of revocations begin with
--
-- Returns {'OK', revocations} when there is none
--      or {'OK', revocations, verdict}

local count = redis.call('GET', KEYS[2]) or '0'
local kept = redis.call('HMGET', KEYS[1], 'user', 'stamp', 'verdict')
if not kept[3] then
  return { 'OK', count }
end
local revoked = redis.call('GET', ARGV[1] .. kept[1])
if revoked and tonumber(revoked) > tonumber(kept[2]) then
  return { 'OK', count }
end
return { 'OK', count, kept[3] }
