-- hook_cancel(tenant, hook, reason): end the events that wait for a webhook that takes no more.
local base, count_ = hook_key(ARGV[1], ARGV[2]), 0
for _, id in ipairs(redis.call('ZRANGE', base .. ':due', 0, -1)) do
  if redis.call('HGET', base .. ':d:' .. id, 'kind') == 'event' then
    redis.call('HSET', base .. ':d:' .. id, 'reason', ARGV[3])
    end_delivery(ARGV[1], ARGV[2], id, 'failed')
    count_ = count_ + 1
  end
end
redis.call('HDEL', base, 'failing_ms', 'pause_until')
arm_hook(ARGV[1], ARGV[2])
return count_
