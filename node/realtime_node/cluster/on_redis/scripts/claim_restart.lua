#!lua flags=allow-oom
-- Claims that the caller is the one node of the cluster that ends itself within a period.
--
-- KEYS[1] the caller's node hash
-- KEYS[2] the node that claimed that last, until the period is over
-- ARGV[1] the caller's node id
-- ARGV[2] the period, ms
--
-- Returns {'OK', 1 if the claim is the caller's, now or from an earlier call, else 0}
--      or {'FENCED'}, nothing written

local caller = redis.call('HMGET', KEYS[1], 'heartbeat', 'tombstone')
if not caller[1] or caller[2] then
  return { 'FENCED' }
end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return { 'OK', 1 }
end
return { 'OK', redis.call('GET', KEYS[2]) == ARGV[1] and 1 or 0 }
