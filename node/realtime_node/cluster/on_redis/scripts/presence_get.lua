#!lua flags=no-writes
-- Reads a channel's presence and which nodes were heard of when, in one instant.
--
-- KEYS[1] nodes of the partition by their last heartbeat
-- KEYS[2] presence of the channel
-- ARGV[1] how long a node may have been silent and still counts, ms
--
-- Returns {'OK', [live node…], [client, entry…], [silent node, silence in ms…], now in ms}; the
--          entries as in presence_add.lua

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since = string.format('%.0f', now - ARGV[1])
local silent = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. since, 'WITHSCORES')
for index = 2, #silent, 2 do
  silent[index] = now - tonumber(silent[index])
end
return {
  'OK',
  redis.call('ZRANGEBYSCORE', KEYS[1], since, '+inf'),
  redis.call('HGETALL', KEYS[2]),
  silent,
  now,
}
