#!lua flags=allow-oom
-- Enters a client as present in a channel, on behalf of the calling node.
--
-- An entry's value begins with whose it is: `<node> `, or for a client whose session may come back
-- `<node>+<grace in ms>+<token>+<1 if its leave is announced> `, which counts for the grace after the
-- node was heard of last; or, once that node is gone, `+<until, ms>+<token>+<…> `.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] the caller's set of channels with presence
-- KEYS[3] presence of the channel
-- KEYS[4] nodes of the partition by their last heartbeat
-- KEYS[5] counts of the channel's clients
-- ARGV[1] the caller's node id
-- ARGV[2] channel
-- ARGV[3] client
-- ARGV[4] payload: who the client is
-- ARGV[5] what follows the node in the entry, '': it has no session
-- ARGV[6] token of the client's session, 0: none
-- ARGV[7] how long a node may have been silent and still counts, ms
--
-- Returns {'OK', 1 if the client counted as present before, else 0}
--      or {'FENCED'}, nothing written

-- @presence

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
local counted = 0
local entry = redis.call('HGET', KEYS[3], ARGV[3])
if entry then
  if ARGV[6] ~= '0' then
    local node, span, token = string.match(entry, '^(%x*)%+(%d+)%+(%d+)%+')
    node = node or string.match(entry, '^(%S*) ')
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local heard = tonumber(redis.call('ZSCORE', KEYS[4], node) or '0')
    local ends = heard + math.max(tonumber(span or '0'), tonumber(ARGV[7]))
    if node == '' then
      ends = tonumber(span)
    end
    counted = ends > now and 1 or 0
    if tonumber(token or '0') > tonumber(ARGV[6]) then
      return { 'OK', counted }
    end
  end
  count_entry(KEYS[5], entry, -1)
end
entry = ARGV[1] .. ARGV[5] .. ' ' .. ARGV[4]
redis.call('HSET', KEYS[3], ARGV[3], entry)
count_entry(KEYS[5], entry, 1)
redis.call('SADD', KEYS[2], ARGV[2])
return { 'OK', counted }
