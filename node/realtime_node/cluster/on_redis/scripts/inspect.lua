#!lua flags=no-writes
-- Reads the state of a channel as it is, to compare it with what a node knows; makes nothing.
--
-- KEYS[1] generation of the partition
-- KEYS[2] interest of the channel
-- KEYS[3] meta of the channel
-- KEYS[4] history of the channel
-- KEYS[5] the caller's inbox
-- ARGV[1] the caller's node id
-- ARGV[2] read what follows this offset
-- ARGV[3] publications to read at most
--
-- Returns {'OK', 1 if the caller is interested else 0, offset, epoch, id of the newest inbox entry,
--          [[id, ['e', payload]]…]}; offset 0 and epoch '' where there is no stream

local generation = redis.call('GET', KEYS[1])
local meta = redis.call('HMGET', KEYS[3], 'epoch', 'offset')
local newest = redis.call('XREVRANGE', KEYS[5], '+', '-', 'COUNT', '1')
local rows = {}
if ARGV[3] ~= '0' then
  rows = redis.call('XRANGE', KEYS[4], '(' .. ARGV[2] .. '-0', '+', 'COUNT', ARGV[3])
end
return {
  'OK',
  redis.call('HEXISTS', KEYS[2], ARGV[1]),
  meta[2] or '0',
  generation and meta[1] and generation .. '.' .. meta[1] or '',
  newest[1] and newest[1][1] or '',
  rows,
}
