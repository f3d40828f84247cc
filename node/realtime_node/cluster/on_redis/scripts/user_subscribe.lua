#!lua
-- Keeps a server-side subscription of a user, or of one session.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] server-side subscriptions of the user, or the session's record
-- ARGV[1] field
-- ARGV[2] subscription: its end in Unix seconds (0: never), a space, and what it brings
-- ARGV[3] how many there may be
-- ARGV[4] the user whose record KEYS[2] has to be, after a `=`; '': it is no record
--
-- Returns {'OK'}
--      or {'FULL'} when there are as many others, {'UNKNOWN'} when there is no such record of this
--         user; nothing written
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
if ARGV[4] ~= '' then
  local user = redis.call('HGET', KEYS[2], 'user')
  if not user or '=' .. user ~= ARGV[4] then
    return { 'UNKNOWN' }
  end
end
local now = tonumber(redis.call('TIME')[1])
local others = 0
local fields = redis.call('HGETALL', KEYS[2])
for index = 1, #fields, 2 do
  if string.sub(fields[index], 1, 2) == 's:' and fields[index] ~= ARGV[1] then
    local ends = tonumber(string.match(fields[index + 1], '^%d+'))
    if ends > 0 and ends <= now then
      redis.call('HDEL', KEYS[2], fields[index])
    else
      others = others + 1
    end
  end
end
if others >= tonumber(ARGV[3]) then
  return { 'FULL' }
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return { 'OK' }
