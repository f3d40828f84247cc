#!lua flags=allow-oom
-- Ends server-side subscriptions of a user, or of one session, and notes for the sessions that have
-- no connection what was taken from them.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] server-side subscriptions of the user, or the session's record
-- KEYS[3] what was taken from the user's sessions, or the session's record
-- ARGV[1] field of the subscription; '': all, 'end': none, the sessions end
-- ARGV[2] field under which it is noted
-- ARGV[3] how long that is remembered, ms; 0: nobody has to know
-- ARGV[4] 1: KEYS[2] is a record, which is only changed where it exists
-- ARGV[5] notes that are kept; beyond, everything counts as taken, and only an end is noted as such
--
-- Returns {'OK'}
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
local is_record = ARGV[4] == '1'
if is_record and redis.call('EXISTS', KEYS[2]) == 0 then
  return { 'OK' }
end
if ARGV[1] == '' then
  for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
    if string.sub(field, 1, 2) == 's:' then
      redis.call('HDEL', KEYS[2], field)
    end
  end
elseif ARGV[1] ~= 'end' then
  redis.call('HDEL', KEYS[2], ARGV[1])
end
if ARGV[3] ~= '0' then
  local time = redis.call('TIME')
  local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
  local field = ARGV[2]
  if field ~= 'end' and redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[5]) then
    field = 'all'
  end
  redis.call('HSET', KEYS[3], field, now)
  if not is_record then
    redis.call('PEXPIRE', KEYS[3], ARGV[3])
  end
end
return { 'OK' }
