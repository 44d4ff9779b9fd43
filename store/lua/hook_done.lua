-- hook_done(tenant, hook, id, fence, verdict, code, duration_ms, reason, delay_ms, pause_ms): how a
-- try ended; answers since when the webhook fails, or nil where the claim was not held any more.
local tenant, hook, id, verdict = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local base = hook_key(tenant, hook)
local key = base .. ':d:' .. id
local held = redis.call('HMGET', key, 'fence', 'state', 'kind')
if held[1] ~= ARGV[4] or held[2] ~= 'pending' then
  return false
end
redis.call('ZREM', hook_busy_key(tenant), hook .. ' ' .. id)
if verdict == 'interrupted' then
  redis.call('HINCRBY', key, 'attempts', -1)
  redis.call('ZADD', base .. ':due', int(NOW), id)
else
  redis.call('HSET', key, 'code', ARGV[6], 'duration_ms', ARGV[7], 'reason', ARGV[8])
  count('webhook_deliveries', verdict)
end
if verdict == 'delivered' then
  end_delivery(tenant, hook, id, 'delivered')
  redis.call('HDEL', base, 'failing_ms', 'pause_until')
elseif verdict == 'failed' then
  end_delivery(tenant, hook, id, 'failed')
elseif verdict == 'retried' then
  local next_ms = int(NOW + tonumber(ARGV[9]))
  redis.call('HSET', key, 'next_ms', next_ms)
  redis.call('ZADD', base .. ':due', next_ms, id)
end
if (verdict == 'failed' or verdict == 'retried') and held[3] == 'event' then
  redis.call('HSETNX', base, 'failing_ms', int(NOW))
end
if tonumber(ARGV[10]) > 0 then
  redis.call('HSET', base, 'pause_until', int(NOW + tonumber(ARGV[10])))
end
arm_hook(tenant, hook)
return redis.call('HGET', base, 'failing_ms') or ''
