#!lua flags=allow-oom
-- Lets verdicts live on; those whose users were revoked end here.
--
-- KEYS[1…] verdicts
-- ARGV[1]  what the names of revocations begin with
-- ARGV[2…] their lives from now, ms
--
-- Returns {'OK'}

for index, key in ipairs(KEYS) do
  local kept = redis.call('HMGET', key, 'user', 'stamp')
  if kept[1] then
    local revoked = redis.call('GET', ARGV[1] .. kept[1])
    if revoked and tonumber(revoked) > tonumber(kept[2]) then
      redis.call('DEL', key)
    else
      redis.call('PEXPIRE', key, ARGV[index + 1])
    end
  end
end
return { 'OK' }
