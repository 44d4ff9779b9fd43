-- hook_again(tenant, hook, id): try a delivery now, and for another day where it had ended.
local base = hook_key(ARGV[1], ARGV[2])
local state = redis.call('HGET', base .. ':d:' .. ARGV[3], 'state')
if not state then
  return 0
end
if state ~= 'pending' then
  redis.call('ZREM', base .. ':done', ARGV[3])
  deliver(ARGV[1], ARGV[2], ARGV[3])
elseif not redis.call('ZSCORE', hook_busy_key(ARGV[1]), ARGV[2] .. ' ' .. ARGV[3]) then
  redis.call('ZADD', base .. ':due', int(NOW), ARGV[3])
  redis.call('HSET', base .. ':d:' .. ARGV[3], 'next_ms', int(NOW))
end
redis.call('HDEL', base, 'pause_until')
arm_hook(ARGV[1], ARGV[2])
return 1
