#!lua flags=no-writes
-- Reads a part of a channel's presence, and which nodes were heard of when, in one instant.
--
-- KEYS[1] nodes of the partition by their last heartbeat
-- KEYS[2] presence of the channel
-- ARGV[1] how long a node may have been silent and still counts, ms
-- ARGV[2] where to read on, 0: from the beginning
-- ARGV[3] about how many entries to read
--
-- Returns {'OK', where to read on or 0, entries of the whole channel, [live node…],
--          [silent node, silence in ms…], now in ms, [client, entry…]}; the entries as in
--          presence_add.lua

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since = string.format('%.0f', now - ARGV[1])
local silent = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. since, 'WITHSCORES')
for index = 2, #silent, 2 do
  silent[index] = now - tonumber(silent[index])
end
local page = redis.call('HSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
return {
  'OK',
  page[1],
  redis.call('HLEN', KEYS[2]),
  redis.call('ZRANGEBYSCORE', KEYS[1], since, '+inf'),
  silent,
  now,
  page[2],
}
