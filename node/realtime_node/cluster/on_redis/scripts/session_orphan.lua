#!lua flags=allow-oom
-- Lets the records of a dead node wait for their clients, from its last heartbeat on. It may run
-- twice, and late, because it acts only under a tombstone; who claimed a record has it.
--
-- KEYS[1]  the dead node's hash
-- KEYS[2]  its set of sessions
-- KEYS[3]  nodes of the partition by their last heartbeat
-- KEYS[4…] record of each session
-- ARGV[1]  the dead node's id
-- ARGV[2…] the sessions
--
-- Returns {'OK'}
--      or {'ALIVE'} when there is no tombstone, nothing written

if not redis.call('HGET', KEYS[1], 'tombstone') then
  return { 'ALIVE' }
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local served = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1]) or now)
for index = 2, #ARGV do
  local key = KEYS[index + 2]
  local record = redis.call('HMGET', key, 'owner', 'window', 'ended')
  if record[1] == ARGV[1] and not record[3] then
    redis.call('HSET', key, 'ended', string.format('%.0f', served))
    local left = math.max(served + tonumber(record[2]) - now, 1)
    redis.call('PEXPIRE', key, string.format('%.0f', left))
  end
  redis.call('SREM', KEYS[2], ARGV[index])
end
return { 'OK' }
