-- hook_plan(limit, cap, crowd, {tenant, hook, since, types}...): a delivery for every event a webhook has
-- not seen; whether any has more to see. `types` is '*' or ',a,b,'. In a crowd progress is left out.
local function before(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)%-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)%-(%d+)$')
  a_ms, b_ms = tonumber(a_ms), tonumber(b_ms)
  return a_ms < b_ms or (a_ms == b_ms and tonumber(a_seq) < tonumber(b_seq))
end

-- Deliveries sort by their event; the end of the webhook's id keeps two webhooks' apart.
local function delivery_id(hook, event)
  local ms, seq = string.match(event, '^(%d+)%-(%d+)$')
  return string.format('dlv_%013.0f%06.0f_', tonumber(ms), math.min(tonumber(seq), 899999)) .. string.sub(hook, -16)
end

local function plan(tenant, hook, since, types, limit, cap, crowd)
  local base = hook_key(tenant, hook)
  local cursor = redis.call('HGET', base, 'cursor')
  if not cursor or before(cursor, since) then
    cursor = since
  end
  local waiting = redis.call('ZCARD', base .. ':due')
  local room = math.min(limit, cap - waiting)
  if room <= 0 then
    return false
  end
  local entries = redis.call('XRANGE', P .. 'events:' .. tenant, '(' .. cursor, '+', 'COUNT', room)
  for _, entry in ipairs(entries) do
    local fields = {}
    for i = 1, #entry[2], 2 do
      fields[entry[2][i]] = entry[2][i + 1]
    end
    local chosen = types == '*' or string.find(types, ',' .. fields.type .. ',', 1, true)
    if chosen and not (fields.type == 'job.progress' and waiting >= crowd) then
      waiting = waiting + 1
      add_delivery(tenant, hook, delivery_id(hook, entry[1]), 'kind', 'event', 'event', entry[1],
        'type', fields.type, 'job', fields.job, 'attempt', fields.attempt, 'seq', fields.seq,
        'at', fields.at, 'data', fields.data)
    end
    cursor = entry[1]
  end
  if #entries > 0 then
    redis.call('SADD', P .. 'hooks-known', tenant .. ' ' .. hook)
    redis.call('HSET', base, 'cursor', cursor)
    arm_hook(tenant, hook)
  end
  return #entries == room
end

local limit, cap, crowd, more = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), 0
local behind = {}
for i = 4, #ARGV, 4 do
  local tenant = ARGV[i]
  local rest = plan(tenant, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], limit, cap, crowd)
  behind[tenant] = behind[tenant] or rest
  more = rest and 1 or more
end
-- Until this grows old, the tenant's events need not be kept for longer than for anybody else.
for tenant, rest in pairs(behind) do
  if not rest then
    redis.call('SET', P .. 'hooked:' .. tenant, int(NOW), 'PX', 604800000)
  end
end
return more
