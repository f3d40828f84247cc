#!lua
-- Writes a join or leave into the inbox of every node that is interested in the channel.
--
-- KEYS[1]  the caller's node hash
-- KEYS[2]  interest of the channel
-- KEYS[3…] inboxes of the interested nodes, as the caller knows them
-- ARGV[1]  version of the interest that KEYS[3…] were made from; 0: nobody is interested
-- ARGV[2]  header of the entry
-- ARGV[3]  payload of the entry
-- ARGV[4]  entries that an inbox may hold
-- ARGV[5]  bytes that an inbox may take
--
-- Returns {'OK'}
--      or {'STALE_INTEREST', version, node…}, nothing written
--      or {'FENCED'}, nothing written

-- @append

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end

local version = redis.call('HGET', KEYS[2], '.version') or '0'
if version ~= ARGV[1] then
  local reply = { 'STALE_INTEREST', version }
  for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
    if field ~= '.version' then
      reply[#reply + 1] = field
    end
  end
  return reply
end

for index = 3, #KEYS do
  append(KEYS[index], ARGV[4], ARGV[5], ARGV[2], ARGV[3])
end
return { 'OK' }
