#!lua flags=no-writes
-- Reads what a node compares after a reconnect with what it remembers.
--
-- KEYS[1] generation of the partition
-- KEYS[2] the caller's node hash
-- KEYS[3] the caller's mark
-- KEYS[4] the caller's inbox
-- ARGV[1] id of the last entry that the caller took from its inbox, '': none
--
-- Returns {'OK', generation, last sequence in the mark, id of the oldest inbox entry or '',
--          [field, value] of the entry ARGV[1] or []}
--      or {'GONE', generation} when the caller's registration is not there, nor its tombstone
--      or {'FENCED'} when it was declared dead or the partition was emptied

local generation = redis.call('GET', KEYS[1])
local caller = redis.call('HMGET', KEYS[2], 'heartbeat', 'tombstone')
if not generation or caller[2] then
  return { 'FENCED' }
end
if not caller[1] then
  return { 'GONE', generation }
end
local oldest = redis.call('XRANGE', KEYS[4], '-', '+', 'COUNT', '1')
local entry = {}
if ARGV[1] ~= '' then
  entry = redis.call('XRANGE', KEYS[4], ARGV[1], ARGV[1])
end
return {
  'OK',
  generation,
  redis.call('HGET', KEYS[3], 'last') or '0',
  oldest[1] and oldest[1][1] or '',
  entry[1] and entry[1][2] or {},
}
