#!lua flags=allow-oom
-- Takes some channels of a dead node out: its interest and the presence that it owns. Clients whose
-- sessions may come back are left behind until their grace ends. It may run twice, and late, because
-- it acts only under a tombstone.
--
-- KEYS[1]  the dead node's hash
-- KEYS[2]  its set of channels
-- KEYS[3]  its set of channels with presence
-- KEYS[4]  nodes of the partition by their last heartbeat
-- KEYS[5]  clients left behind, by the end of their grace
-- KEYS[6…] interest, presence and the counts of presence of each channel, in turn
-- ARGV[1]  the dead node's id
-- ARGV[2…] the channels
--
-- Returns {'OK'}
--      or {'ALIVE'} when there is no tombstone, nothing written

-- @presence

local dead = ARGV[1]
if not redis.call('HGET', KEYS[1], 'tombstone') then
  return { 'ALIVE' }
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local heard = tonumber(redis.call('ZSCORE', KEYS[4], dead) or now)
for index = 2, #ARGV do
  local interest, presence, counts = KEYS[3 * index], KEYS[3 * index + 1], KEYS[3 * index + 2]
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
    local client, entry = entries[field], entries[field + 1]
    local next = string.sub(entry, #dead + 1, #dead + 1)
    if string.sub(entry, 1, #dead) == dead and (next == ' ' or next == '+') then
      local grace, rest = string.match(entry, '^%x+%+(%d+)(%+.*)$')
      if grace and grace ~= '0' then
        local ends = string.format('%.0f', heard + tonumber(grace))
        redis.call('HSET', presence, client, '+' .. ends .. rest)
        count_owner(counts, entry, -1)
        redis.call('ZADD', KEYS[5], ends, client .. ' ' .. ARGV[index])
      else
        redis.call('HDEL', presence, client)
        count_entry(counts, entry, -1)
      end
    end
  end
  redis.call('SREM', KEYS[2], ARGV[index])
  redis.call('SREM', KEYS[3], ARGV[index])
end
return { 'OK' }
