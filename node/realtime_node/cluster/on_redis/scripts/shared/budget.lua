-- Returns the version of the reconnect budget and what it is per node: the newer one of what is
-- kept and what the caller knows. So a change made at run time survives a Redis that lost it, and a
-- node that starts, which knows none, overwrites nothing.
local function newest_budget(key, version, per_node)
  local kept = redis.call('HMGET', key, 'version', 'per_node')
  if kept[1] and tonumber(kept[1]) >= tonumber(version) then
    return kept[1], kept[2]
  end
  if tonumber(version) > 0 then
    redis.call('HSET', key, 'version', version, 'per_node', per_node)
  end
  return version, per_node
end

-- Returns how many nodes have beaten since then, how many of them accept clients, and the clients per
-- second that came to all of them. `own` is the caller, whose word is fresher than its traffic.
local function count_traffic(nodes, traffic, since, own, own_accepts)
  local live = redis.call('ZRANGEBYSCORE', nodes, string.format('%.0f', since), '+inf')
  local accepting, arrivals = 0, 0
  for _, node in ipairs(live) do
    local accepts, rate = string.match(
      redis.call('HGET', traffic, node) or '', '^([01]) ([%d.]+)$')
    if node == own then
      accepts = own_accepts
    end
    if accepts == '1' then
      accepting = accepting + 1
    end
    arrivals = arrivals + (rate or 0)
  end
  return #live, accepting, arrivals
end
