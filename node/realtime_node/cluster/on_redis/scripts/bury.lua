#!lua flags=allow-oom
-- Deletes what is left of a dead node once all its channels and sessions are forgotten. Its tombstone
-- stays for its own time, and a node whose hash is gone is fenced all the same.
--
-- KEYS[1] the dead node's hash
-- KEYS[2] nodes of the partition by their last heartbeat
-- KEYS[3] descriptions of the nodes
-- KEYS[4] its set of channels
-- KEYS[5] its set of channels with presence
-- KEYS[6] its inbox
-- KEYS[7] its mark
-- KEYS[8] traffic of the nodes
-- KEYS[9] its set of sessions
-- ARGV[1] the dead node's id
--
-- Returns {'OK'}
--      or {'ALIVE'} when there is no tombstone, {'BUSY'} when channels or sessions are left; nothing
--      written

if not redis.call('HGET', KEYS[1], 'tombstone') then
  return { 'ALIVE' }
end
if redis.call('EXISTS', KEYS[4], KEYS[5], KEYS[9]) > 0 then
  return { 'BUSY' }
end
redis.call('DEL', KEYS[6], KEYS[7])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[8], ARGV[1])
return { 'OK' }
