#!lua flags=allow-oom
-- Makes a node interested in a channel and reads the channel's state in the same instant.
--
-- KEYS[1] generation of the partition
-- KEYS[2] the caller's node hash
-- KEYS[3] the caller's set of channels
-- KEYS[4] interest of the channel
-- KEYS[5] meta of the channel      (used only with history)
-- KEYS[6] history of the channel   (read only with history)
-- ARGV[1] the caller's node id
-- ARGV[2] sequence of this change among the caller's changes of interest
-- ARGV[3] channel
-- ARGV[4] life of the meta, ms, 0: the channel keeps no history
-- ARGV[5] read what follows this offset, '': read nothing
-- ARGV[6] publications to read at most
--
-- Returns {'OK', offset, epoch, [[id, ['e', payload]]…]}; offset 0 and epoch '' without history
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[2], 'heartbeat', 'tombstone')
local generation = redis.call('GET', KEYS[1])
if not caller[1] or caller[2] or not generation then
  return { 'FENCED' }
end

local time = redis.call('TIME')
local interest = redis.call('HMGET', KEYS[4], ARGV[1], '.version')
if not interest[1] then
  -- The version stays unique when the key is deleted and made again: publishers may hold an old one.
  local version = math.max(tonumber(interest[2] or '0') + 1, time[1] * 1000000 + time[2])
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[2], '.version', string.format('%.0f', version))
  redis.call('SADD', KEYS[3], ARGV[3])
elseif tonumber(interest[1]) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
end

if ARGV[4] == '0' then
  return { 'OK', '0', '', {} }
end

local meta = redis.call('HMGET', KEYS[5], 'epoch', 'offset')
local nonce = meta[1]
if not nonce then
  nonce = string.format('%x%05x', time[1], time[2])
  redis.call('DEL', KEYS[6])
  redis.call('HSET', KEYS[5], 'epoch', nonce)
end
redis.call('PEXPIRE', KEYS[5], ARGV[4])

local missed = {}
if ARGV[5] ~= '' and ARGV[6] ~= '0' then
  missed = redis.call('XRANGE', KEYS[6], '(' .. ARGV[5] .. '-0', '+', 'COUNT', ARGV[6])
end
return { 'OK', meta[2] or '0', generation .. '.' .. nonce, missed }
