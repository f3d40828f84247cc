#!lua flags=allow-oom
-- Claims that the caller is the one node of the cluster that ends itself within a period. A node that
-- was declared dead may too: not being able to join again is what may be wrong with it.
--
-- KEYS[1] the node that claimed that last, until the period is over
-- ARGV[1] the caller's node id
-- ARGV[2] the period, ms
--
-- Returns {'OK', 1 if the claim is the caller's, now or from an earlier call, else 0}

if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return { 'OK', 1 }
end
return { 'OK', redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0 }
