#!lua flags=allow-oom
-- Forgets a channel's publications; its meta stays, so offsets go on from where they were.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] history of the channel
--
-- Returns {'OK'}
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
redis.call('DEL', KEYS[2])
return { 'OK' }
