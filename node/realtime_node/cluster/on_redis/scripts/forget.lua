#!lua flags=allow-oom
-- Takes some channels of a dead node out: its interest and the presence that it owns. It may run
-- twice, and late, because it acts only under a tombstone.
--
-- KEYS[1]  the dead node's hash
-- KEYS[2]  its set of channels
-- KEYS[3]  its set of channels with presence
-- KEYS[4…] interest and presence of each channel, in turn
-- ARGV[1]  the dead node's id
-- ARGV[2…] the channels
--
-- Returns {'OK'}
--      or {'ALIVE'} when there is no tombstone, nothing written

local dead = ARGV[1]
if not redis.call('HGET', KEYS[1], 'tombstone') then
  return { 'ALIVE' }
end
local time = redis.call('TIME')
local owner = dead .. ' '
for index = 2, #ARGV do
  local interest, presence = KEYS[2 * index], KEYS[2 * index + 1]
  if redis.call('HDEL', interest, dead) == 1 then
    if redis.call('HLEN', interest) == 1 then
      redis.call('DEL', interest)
    else
      local version = tonumber(redis.call('HGET', interest, '.version') or '0')
      version = math.max(version + 1, time[1] * 1000000 + time[2])
      redis.call('HSET', interest, '.version', string.format('%.0f', version))
    end
  end
  local entries = redis.call('HGETALL', presence)
  for field = 1, #entries, 2 do
    if string.sub(entries[field + 1], 1, #owner) == owner then
      redis.call('HDEL', presence, entries[field])
    end
  end
  redis.call('SREM', KEYS[2], ARGV[index])
  redis.call('SREM', KEYS[3], ARGV[index])
end
return { 'OK' }
