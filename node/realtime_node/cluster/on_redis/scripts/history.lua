#!lua flags=allow-oom
-- Reads a page of a channel's stream together with its position. A channel that was never used
-- gets its epoch here, so that the position means something; that is little enough to be written
-- into a full Redis too, where reading shall go on.
--
-- KEYS[1] generation of the partition
-- KEYS[2] meta of the channel
-- KEYS[3] history of the channel
-- ARGV[1] publications at most, 0: the position alone, -1: all
-- ARGV[2] offset from which to read, itself excluded, '': from the stream's end
-- ARGV[3] 1: from new to old, 0: from old to new
-- ARGV[4] life of the meta, ms
--
-- Returns {'OK', offset, epoch, [[id, ['e', payload]]…]}
--      or {'FENCED'} when the partition was never set up or has been emptied

local generation = redis.call('GET', KEYS[1])
if not generation then
  return { 'FENCED' }
end

local meta = redis.call('HMGET', KEYS[2], 'epoch', 'offset')
local nonce = meta[1]
if not nonce then
  local time = redis.call('TIME')
  nonce = string.format('%x%05x', time[1], time[2])
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[2], 'epoch', nonce)
end
redis.call('PEXPIRE', KEYS[2], ARGV[4])

local page = {}
if ARGV[1] ~= '0' then
  local query
  if ARGV[3] == '1' then
    query = { 'XREVRANGE', KEYS[3], ARGV[2] == '' and '+' or '(' .. ARGV[2] .. '-0', '-' }
  else
    query = { 'XRANGE', KEYS[3], ARGV[2] == '' and '-' or '(' .. ARGV[2] .. '-0', '+' }
  end
  if ARGV[1] ~= '-1' then
    query[5], query[6] = 'COUNT', ARGV[1]
  end
  page = redis.call(unpack(query))
end
return { 'OK', meta[2] or '0', generation .. '.' .. nonce, page }
