-- hook_forget(tenant, hook): everything of a webhook that is no more.
local tenant, hook = ARGV[1], ARGV[2]
local base = hook_key(tenant, hook)
local ids = redis.call('ZRANGE', base .. ':log', 0, -1)
for _, id in ipairs(ids) do
  redis.call('UNLINK', base .. ':d:' .. id)
  redis.call('ZREM', P .. 'hooks-pending', tenant .. ' ' .. hook .. ' ' .. id)
  redis.call('ZREM', hook_busy_key(tenant), hook .. ' ' .. id)
end
redis.call('UNLINK', base, base .. ':due', base .. ':log', base .. ':done')
redis.call('ZREM', P .. 'hooks', tenant .. ' ' .. hook)
redis.call('SREM', P .. 'hooks-known', tenant .. ' ' .. hook)
return #ids
