-- accept: one job, its index, first event, idempotency key and bell, or none of it.
local a = cjson.decode(ARGV[1])
local command = ARGV[2]

local function encode_time(ms)
  local digits, out = '0123456789ABCDEFGHJKMNPQRSTVWXYZ', ''
  for _ = 1, 10 do
    local d = ms % 32
    out = string.sub(digits, d + 1, d + 1) .. out
    ms = (ms - d) / 32
  end
  return out
end

local idem = a.idem ~= '' and (P .. 'idem:' .. a.tenant .. ':' .. a.idem) or nil

local function remember(id)
  if idem then
    redis.call('SET', idem, a.body .. '|' .. id, 'EX', int(a.idem_ttl))
  end
end

if idem then
  local known = redis.call('GET', idem)
  if known then
    -- The body may hold the mark too; the id never does.
    local body, id = string.match(known, '^(.*)|(.+)$')
    if body ~= a.body then
      return { 'idempotency_conflict', {} }
    end
    local record = redis.call('HGETALL', job_key(id))
    if #record > 0 then
      return { 'same', record, id }
    end
  end
end

local dedup = a.dedup ~= '' and (P .. 'dedup:' .. a.tenant .. ':' .. a.dedup) or nil
if dedup then
  local id = redis.call('GET', dedup)
  if id and redis.call('EXISTS', job_key(id)) == 1 then
    if redis.call('HGET', job_key(id), 'fingerprint') ~= a.fingerprint then
      return { 'conflict', {}, id }
    end
    remember(id)
    return { 'same', redis.call('HGETALL', job_key(id)), id }
  end
end

if redis.call('ZCARD', P .. 'queued:' .. a.queue) >= a.cap then
  return { 'full', {} }
end

local id = 'job_' .. encode_time(NOW) .. a.random
local job = { id = id, tenant = a.tenant, attempt = '0', queue = a.queue, priority = a.priority,
  created_ms = int(NOW), state = 'queued' }
redis.call('HSET', job_key(id), 'tenant', a.tenant, 'kind', a.kind, 'queue', a.queue,
  'priority', a.priority, 'state', 'queued', 'attempt', '0', 'allowance', int(a.allowance),
  'fence', '0', 'owner', '', 'cancel', '0', 'created_ms', job.created_ms,
  'requested_by', a.requested_by, 'connector', a.connector, 'channel', a.channel,
  'fingerprint', a.fingerprint, 'dedup', a.dedup, 'command', command, 'ready_event', a.ready_event)
redis.call('ZADD', P .. 'jobs:' .. a.tenant, 0, id)
redis.call('ZADD', P .. 'jobs:' .. a.tenant .. ':queued', 0, id)
redis.call('SADD', P .. 'tenants', a.tenant)
if dedup then
  redis.call('SET', dedup, id)
end
remember(id)
count('accepted', a.kind)
emit(job, 'job.queued', { kind = a.kind })
make_ready(job)
-- The caller knows the rest of a new record: reading it back would double the cost of the call.
return { 'new', { 'created_ms', job.created_ms }, id }
