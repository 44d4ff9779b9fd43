-- hook_renew(lease_ms, {tenant, hook, id, fence}...): hold what is being sent for a little longer.
local until_ms = int(NOW + tonumber(ARGV[1]))
for i = 2, #ARGV, 4 do
  local tenant, hook, id = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local base = hook_key(tenant, hook)
  local held = redis.call('HMGET', base .. ':d:' .. id, 'fence', 'state')
  if held[1] == ARGV[i + 3] and held[2] == 'pending' then
    redis.call('ZADD', base .. ':due', 'XX', until_ms, id)
    redis.call('ZADD', hook_busy_key(tenant), until_ms, hook .. ' ' .. id)
    arm_hook(tenant, hook)
  end
end
return 1
