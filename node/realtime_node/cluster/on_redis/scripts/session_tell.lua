#!lua flags=allow-oom
-- Writes a control message into the inbox of one node, if there is one.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] the other node's inbox
-- ARGV[1] payload
-- ARGV[2] entries that an inbox may hold
-- ARGV[3] bytes that an inbox may take
--
-- Returns {'OK'}
--      or {'FENCED'}, nothing written

-- @append

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
append(KEYS[2], ARGV[2], ARGV[3], 'c0  ', ARGV[1])
return { 'OK' }
