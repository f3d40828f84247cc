#!lua flags=allow-oom
-- Finds out what became of a publish whose answer was lost, and sees to it that a publish which was
-- not executed never will be: it may still be on its way, on a connection that is given up.
--
-- KEYS[1] generation of the partition
-- KEYS[2] the caller's node hash
-- KEYS[3] the caller's mark
-- ARGV[1] the publish sequence in question
--
-- Returns {'DONE', offset, epoch, sequence in the caller's own inbox or ''}
--      or {'NOT_DONE', generation}; publish.lua refuses this sequence from now on
--      or {'UNKNOWN'} when later publishes have taken its place in the mark, nothing written
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[2], 'heartbeat', 'tombstone')
local generation = redis.call('GET', KEYS[1])
if not caller[1] or caller[2] or not generation then
  return { 'FENCED' }
end

local sequence = tonumber(ARGV[1])
local mark = redis.call('HMGET', KEYS[3], 'last', sequence % 256)
if mark[2] then
  local found, offset, epoch, own = string.match(mark[2], '^(%d+) (%d+) (%S*) (%d*)$')
  found = tonumber(found)
  if found == sequence then
    return { 'DONE', offset, epoch, own }
  elseif found > sequence then
    return { 'UNKNOWN' }
  end
end
if tonumber(mark[1] or '0') < sequence then
  redis.call('HSET', KEYS[3], 'last', ARGV[1])
end
return { 'NOT_DONE', generation }
