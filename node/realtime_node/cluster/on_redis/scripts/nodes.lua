#!lua flags=no-writes
-- Lists the live nodes.
--
-- KEYS[1] nodes of the partition by their last heartbeat
-- KEYS[2] descriptions of the nodes
-- ARGV[1] how long a node may have been silent and still counts, ms
--
-- Returns {'OK', description…}

local time = redis.call('TIME')
local since = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[1]
local reply = { 'OK' }
for _, node in ipairs(
  redis.call('ZRANGEBYSCORE', KEYS[1], string.format('%.0f', since), '+inf')) do
  reply[#reply + 1] = redis.call('HGET', KEYS[2], node)
end
return reply
