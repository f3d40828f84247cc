#!lua flags=allow-oom
-- Lets a session's record wait for its client, or deletes it, on behalf of the connection that owned
-- it. It goes by the connection's name alone: whoever had no answer to its claim has no token.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] record of the session
-- KEYS[3] the caller's set of sessions
-- ARGV[1] the caller's node id
-- ARGV[2] session
-- ARGV[3] connection
-- ARGV[4] window, ms
-- ARGV[5] state, '': as it is
-- ARGV[6] 1: delete the record
--
-- Returns {'OK'}
--      or {'LOST'} when another connection owns the record or there is none, nothing written to it
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
local record = redis.call('HMGET', KEYS[2], 'connection', 'owner')
local is_owner = record[1] == ARGV[3]
if is_owner or record[2] ~= ARGV[1] then
  redis.call('SREM', KEYS[3], ARGV[2])
end
if not is_owner then
  return { 'LOST' }
end
if ARGV[6] == '1' then
  redis.call('DEL', KEYS[2])
  return { 'OK' }
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[2], 'ended', string.format('%.0f', now))
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[2], 'state', ARGV[5])
end
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return { 'OK' }
