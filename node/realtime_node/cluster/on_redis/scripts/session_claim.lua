#!lua flags=allow-oom
-- Gives a session to a connection: the one it asks for, taken over from whoever has it, or a new one.
-- Reads the user's server-side subscriptions in the same instant.
--
-- A record is a hash: token, connection, owner (a node), user, window, state, and ended while it has
-- no connection. Fields `s:<channel>` are server-side subscriptions of this session alone, fields
-- `r:<channel>` and `all` when what granted those channels was taken, `end` when the session was.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] nodes of the partition by their last heartbeat
-- KEYS[3] record of the session asked for; the new one's if none is
-- KEYS[4] record of the new session
-- KEYS[5] the caller's set of sessions
-- KEYS[6] server-side subscriptions of the user
-- KEYS[7] what was taken from the user's sessions, and when
-- ARGV[1] the caller's node id
-- ARGV[2] the session asked for, '': none
-- ARGV[3] the new session
-- ARGV[4] user
-- ARGV[5] connection
-- ARGV[6] window of the new session, ms
-- ARGV[7] how long a node may have been silent and still counts, ms
-- ARGV[8] state of the new session
--
-- Returns {'RESUMED', token, [field, value… of the record as it was], [channel, subscription…],
--          [channel, when…] taken from the user, when the record was last certain to be served, ms}
--      or {'NEW', token, why the asked one is not resumed, [channel, subscription…]}
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- By the clock, so that tokens grow even where Redis has forgotten some.
local token = time[1] * 1000000 + time[2]
local subscriptions = redis.call('HGETALL', KEYS[6])

local function text(number)
  return string.format('%.0f', number)
end

local function own(key, session, number)
  redis.call('HSET', key, 'token', text(number), 'connection', ARGV[5], 'owner', ARGV[1])
  redis.call('SADD', KEYS[5], session)
end

local why = ''
if ARGV[2] ~= '' then
  local record = redis.call('HMGET', KEYS[3], 'token', 'owner', 'user', 'window', 'ended', 'end')
  if not record[1] then
    why = 'unknown'
  elseif record[3] ~= ARGV[4] then
    why = 'foreign'
  else
    local window = tonumber(record[4])
    local served = tonumber(record[5] or '')
    if not served then
      served = tonumber(redis.call('ZSCORE', KEYS[2], record[2]) or '0')
      window = math.max(window, tonumber(ARGV[7]))
    end
    local revoked = redis.call('HGETALL', KEYS[7])
    -- A claim is a sign of life too.
    served = math.max(served, math.floor(tonumber(record[1]) / 1000))
    if now - served > window then
      why = 'expired'
    else
      local ended = tonumber(record[6] or '0')
      for index = 1, #revoked, 2 do
        if revoked[index] == 'end' then
          ended = math.max(ended, tonumber(revoked[index + 1]))
        end
      end
      if ended >= served then
        why = 'revoked'
      end
    end
    if why == '' then
      local before = redis.call('HGETALL', KEYS[3])
      token = math.max(token, tonumber(record[1]) + 1)
      own(KEYS[3], ARGV[2], token)
      redis.call('HDEL', KEYS[3], 'ended')
      redis.call('PERSIST', KEYS[3])
      return { 'RESUMED', text(token), before, subscriptions, revoked, text(served) }
    end
  end
end

redis.call('HSET', KEYS[4], 'user', ARGV[4], 'window', ARGV[6], 'state', ARGV[8])
own(KEYS[4], ARGV[3], token)
return { 'NEW', text(token), why, subscriptions }
