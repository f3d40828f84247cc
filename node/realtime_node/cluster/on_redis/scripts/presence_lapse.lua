#!lua flags=allow-oom
-- Takes out the clients of nodes that are gone, whose sessions did not come back within their grace.
-- It may run twice and on several nodes at once: each entry is taken out by one of them.
--
-- KEYS[1]  clients left behind, by the end of their grace
-- KEYS[2…] presence of the channel of each, and the counts of its clients, in turn
-- ARGV[1…] `<client> <channel>` of each
--
-- Returns {'OK', [entry that is gone, or ''…]}

-- @presence

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gone = {}
for index, member in ipairs(ARGV) do
  local client = string.match(member, '^(%S*) ')
  local presence, counts = KEYS[2 * index], KEYS[2 * index + 1]
  local entry = redis.call('HGET', presence, client) or ''
  local ends = tonumber(string.match(entry, '^%+(%d+)%+') or '')
  gone[index] = ''
  if ends and ends <= now then
    redis.call('HDEL', presence, client)
    count_entry(counts, entry, -1)
    gone[index] = entry
  end
  if not ends or ends <= now then
    redis.call('ZREM', KEYS[1], member)
  end
end
return { 'OK', gone }
