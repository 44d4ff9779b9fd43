-- hook_claim(free, free_failing, a_hook, a_tenant, lease_ms): due deliveries, leased; those that
-- fail may take only their share of what is free.
local free, failing_free = tonumber(ARGV[1]), tonumber(ARGV[2])
local a_hook, a_tenant, lease = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local function at_it(tenant, hook)
  local busy = hook_busy_key(tenant)
  redis.call('ZREMRANGEBYSCORE', busy, '-inf', int(NOW))
  local all, mine = redis.call('ZRANGE', busy, 0, -1), 0
  for _, member in ipairs(all) do
    if string.sub(member, 1, #hook + 1) == hook .. ' ' then
      mine = mine + 1
    end
  end
  return #all, mine
end

local function claim(tenant, hook, id)
  local base = hook_key(tenant, hook)
  local key = base .. ':d:' .. id
  redis.call('ZADD', base .. ':due', int(NOW + lease), id)
  redis.call('ZADD', hook_busy_key(tenant), int(NOW + lease), hook .. ' ' .. id)
  redis.call('HSET', key, 'last_ms', int(NOW))
  local fence, attempts = redis.call('HINCRBY', key, 'fence', 1), redis.call('HINCRBY', key, 'attempts', 1)
  local d = redis.call('HMGET', key, 'first_ms', 'kind', 'event', 'type', 'job', 'attempt', 'seq', 'at', 'data')
  return { tenant, hook, id, int(fence), int(attempts), int(NOW - tonumber(d[1])), unpack(d, 2) }
end

local claimed = {}
for _, ref in ipairs(redis.call('ZRANGEBYSCORE', P .. 'hooks', '-inf', int(NOW), 'LIMIT', 0, 500)) do
  if free <= 0 then
    break
  end
  local tenant, hook = string.match(ref, '^(%S+) (%S+)$')
  local base = hook_key(tenant, hook)
  local failing = redis.call('HEXISTS', base, 'failing_ms') == 1
  local all, mine = at_it(tenant, hook)
  local room = math.min(free, a_tenant - all, (failing and 1 or a_hook) - mine)
  if failing then
    room = math.min(room, failing_free)
  end
  if room <= 0 then
    redis.call('ZADD', P .. 'hooks', int(NOW + 100), ref)
  else
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', base .. ':due', '-inf', int(NOW), 'LIMIT', 0, room)) do
      if redis.call('EXISTS', base .. ':d:' .. id) == 0 then
        redis.call('ZREM', base .. ':due', id)
      else
        local one = claim(tenant, hook, id)
        one[#one + 1] = failing and '1' or '0'
        claimed[#claimed + 1] = one
        free = free - 1
        failing_free = failing_free - (failing and 1 or 0)
      end
    end
    arm_hook(tenant, hook)
  end
end
return claimed
