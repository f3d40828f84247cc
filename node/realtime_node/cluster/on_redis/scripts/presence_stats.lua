#!lua flags=no-writes
-- Counts the clients and the users of a channel, without reading them.
--
-- KEYS[1] nodes of the partition by their last heartbeat
-- KEYS[2] presence of the channel
-- KEYS[3] counts of its clients
-- ARGV[1] how long a node may have been silent and still counts, ms
--
-- Returns {'OK', clients, users, how many of the clients are surely alive: a live node owns them}

local CHUNK = 1000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since = string.format('%.0f', now - ARGV[1])
local clients = redis.call('HLEN', KEYS[2])
local users = redis.call('HLEN', KEYS[3])
local alive = 0
local fields = redis.call('ZRANGEBYSCORE', KEYS[1], since, '+inf')
for index, node in ipairs(fields) do
  fields[index] = 'n' .. node
end
for first = 1, #fields, CHUNK do
  local last = math.min(first + CHUNK - 1, #fields)
  local counts = redis.call('HMGET', KEYS[3], unpack(fields, first, last))
  for index = 1, last - first + 1 do
    local count = counts[index]
    if count then
      alive = alive + tonumber(count)
      users = users - 1
    end
  end
end
return { 'OK', clients, math.max(0, users), alive }
