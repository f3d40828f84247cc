#!lua flags=allow-oom
-- Rotates the generation of a partition, and with it the epoch of every channel: acknowledged
-- writes were lost, and positions from before may not be continued. Of all that notice the same
-- loss the first one rotates.
--
-- KEYS[1] generation of the partition
-- ARGV[1] the generation in which the loss was noticed
-- ARGV[2] random part of the next
--
-- Returns {'OK', generation} as it is now
--      or {'FENCED'} when the partition was emptied, nothing written

local generation = redis.call('GET', KEYS[1])
if not generation then
  return { 'FENCED' }
end
if generation == ARGV[1] then
  local time = redis.call('TIME')
  generation = ARGV[2] .. string.format('%x%05x', time[1], time[2])
  redis.call('SET', KEYS[1], generation)
end
return { 'OK', generation }
