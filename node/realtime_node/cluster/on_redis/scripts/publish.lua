#!lua
-- Publishes into a channel: idempotency, offset, history, every interested node's inbox, mark.
-- Everything that can refuse comes before the first write, so a refusal has changed nothing.
--
-- KEYS[1]  generation of the partition
-- KEYS[2]  the caller's node hash
-- KEYS[3]  the caller's mark
-- KEYS[4]  interest of the channel
-- KEYS[5]  meta of the channel            (read and written only with history)
-- KEYS[6]  history of the channel         (written only with history)
-- KEYS[7]  dedup key                      (used only with an idempotency key)
-- KEYS[8…] inboxes of the interested nodes, as the caller knows them
-- ARGV[1]  the caller's publish sequence, for the mark
-- ARGV[2]  version of the interest that KEYS[8…] were made from; 0: nobody is interested
-- ARGV[3]  channel
-- ARGV[4]  payload
-- ARGV[5]  history size, 0: the channel keeps none
-- ARGV[6]  life of the history, ms
-- ARGV[7]  life of the meta, ms
-- ARGV[8]  life of the dedup key, ms, 0: no idempotency key
-- ARGV[9]  entries that an inbox may hold
-- ARGV[10] bytes that an inbox may take
-- ARGV[11] index in KEYS of the caller's own inbox, 0: it is not interested
--
-- Returns {'OK', offset, epoch, sequence in the caller's own inbox or ''}
--      or {'DUPLICATE', offset, epoch} of the first publish under this idempotency key
--      or {'STALE_INTEREST', version, node…}
--      or {'LATE'} when a later publish was executed or this one was given up
--      or {'FENCED'}

-- @append

local caller = redis.call('HMGET', KEYS[2], 'heartbeat', 'tombstone')
local generation = redis.call('GET', KEYS[1])
if not caller[1] or caller[2] or not generation then
  return { 'FENCED' }
end

-- A node's publishes are executed in the order of their sequence. One that comes too late was sent
-- on a connection that broke, and its sender may have published its message again.
if tonumber(redis.call('HGET', KEYS[3], 'last') or '0') >= tonumber(ARGV[1]) then
  return { 'LATE' }
end

local dedup_ttl = ARGV[8]
if dedup_ttl ~= '0' then
  local first = redis.call('HMGET', KEYS[7], 'offset', 'epoch')
  if first[1] then
    return { 'DUPLICATE', first[1], first[2] }
  end
end

local version = redis.call('HGET', KEYS[4], '.version') or '0'
if version ~= ARGV[2] then
  local reply = { 'STALE_INTEREST', version }
  for _, field in ipairs(redis.call('HKEYS', KEYS[4])) do
    if field ~= '.version' then
      reply[#reply + 1] = field
    end
  end
  return reply
end

local offset, epoch = '0', ''
if ARGV[5] ~= '0' then
  local meta = redis.call('HMGET', KEYS[5], 'epoch', 'offset')
  local nonce = meta[1]
  if not nonce then
    -- Offsets begin anew: what an expired meta left behind has no place among them.
    local time = redis.call('TIME')
    nonce = string.format('%x%05x', time[1], time[2])
    redis.call('DEL', KEYS[6])
    redis.call('HSET', KEYS[5], 'epoch', nonce)
  end
  offset = string.format('%.0f', tonumber(meta[2] or '0') + 1)
  epoch = generation .. '.' .. nonce
  redis.call('XADD', KEYS[6], 'MAXLEN', '=', ARGV[5], offset .. '-0', 'e', ARGV[4])
  redis.call('PEXPIRE', KEYS[6], ARGV[6])
  redis.call('HSET', KEYS[5], 'offset', offset)
  redis.call('PEXPIRE', KEYS[5], ARGV[7])
end

local header = 'p' .. offset .. ' ' .. epoch .. ' ' .. ARGV[3]
local own, own_sequence = tonumber(ARGV[11]), ''
for index = 8, #KEYS do
  local id = append(KEYS[index], ARGV[9], ARGV[10], header, ARGV[4])
  if index == own and id then
    own_sequence = string.sub(id, 3)
  end
end

redis.call('HSET', KEYS[3], 'last', ARGV[1], ARGV[1] % 256,
  ARGV[1] .. ' ' .. offset .. ' ' .. epoch .. ' ' .. own_sequence)
if dedup_ttl ~= '0' then
  redis.call('HSET', KEYS[7], 'offset', offset, 'epoch', epoch)
  redis.call('PEXPIRE', KEYS[7], dedup_ttl)
end
return { 'OK', offset, epoch, own_sequence }
