#!lua flags=no-writes
-- Reads a channel's presence and which nodes are alive, in one instant.
--
-- KEYS[1] nodes of the partition by their last heartbeat
-- KEYS[2] presence of the channel
-- ARGV[1] how long a node may have been silent and still counts, ms
--
-- Returns {'OK', [live node…], [client, 'owner payload'…]}

local time = redis.call('TIME')
local since = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[1]
return {
  'OK',
  redis.call('ZRANGEBYSCORE', KEYS[1], string.format('%.0f', since), '+inf'),
  redis.call('HGETALL', KEYS[2]),
}
