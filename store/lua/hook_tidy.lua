-- hook_tidy(keep_ms, {tenant, hook}...): drop what ended long ago, and the memory of what is gone.
local count_ = 0
for i = 2, #ARGV, 2 do
  local base = hook_key(ARGV[i], ARGV[i + 1])
  local old = redis.call('ZCOUNT', base .. ':done', '-inf', int(NOW - tonumber(ARGV[1])))
  trim_deliveries(base, math.min(old, 1000))
  count_ = count_ + old
end
for _, ref in ipairs(redis.call('ZRANGE', P .. 'hooks-pending', 0, 199)) do
  local tenant, hook, id = string.match(ref, '^(%S+) (%S+) (%S+)$')
  if redis.call('EXISTS', hook_key(tenant, hook) .. ':d:' .. id) == 0 then
    redis.call('ZREM', P .. 'hooks-pending', ref)
  end
end
return count_
