-- Shared by every script: KEYS[1] is the prefix of all keys, time is Redis's own.
local P = KEYS[1]
local unpack = unpack or table.unpack
local DRAMATIQ = 'dramatiq:'
local FINAL = { succeeded = true, failed = true, cancelled = true }
local LANE = 1e13
local LANES = { urgent = 0, normal = 1, background = 2 }

local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local NOW = now_ms()

local function int(n)
  return string.format('%.0f', n)
end

local function job_key(id)
  return P .. 'job:' .. id
end

local function read(id)
  local flat = redis.call('HGETALL', job_key(id))
  if #flat == 0 then
    return nil
  end
  local job = { id = id }
  for i = 1, #flat, 2 do
    job[flat[i]] = flat[i + 1]
  end
  return job
end

local function set(job, ...)
  local pairs_ = { ... }
  for i = 1, #pairs_, 2 do
    job[pairs_[i]] = pairs_[i + 1]
  end
  redis.call('HSET', job_key(job.id), ...)
end

local function count(name, kind)
  redis.call('HINCRBY', P .. 'counts', name .. '|' .. kind, 1)
end

-- How much a tenant's stream keeps: more while a webhook of its has not been told for half a minute.
local function kept_events(tenant)
  local told = redis.call('GET', P .. 'hooked:' .. tenant)
  return (told and NOW - tonumber(told) > 30000) and 100000 or 10000
end

local function emit(job, kind, data)
  local seq = redis.call('HINCRBY', job_key(job.id), 'seq', 1)
  local text = type(data) == 'string' and data or (next(data) and cjson.encode(data) or '{}')
  local fields = { 'type', kind, 'job', job.id, 'attempt', job.attempt, 'seq', int(seq), 'at', int(NOW), 'data', text }
  local id = redis.call('XADD', P .. 'events:' .. job.tenant, 'MAXLEN', '~', kept_events(job.tenant), '*', unpack(fields))
  redis.call('XADD', P .. 'job:' .. job.id .. ':events', 'MAXLEN', '~', 1000, id, unpack(fields))
end

local function set_state(job, state)
  local base = P .. 'jobs:' .. job.tenant .. ':'
  if job.state ~= state then
    if job.state then
      redis.call('ZREM', base .. job.state, job.id)
    end
    redis.call('ZADD', base .. state, 0, job.id)
    set(job, 'state', state)
  end
end

-- A bell is fungible: it says "look at this queue", and the claim picks the fairest job.
local function ring(queue, id)
  local nonce = redis.call('INCR', P .. 'bells')
  local bell = id .. '.' .. int(nonce)
  local message = '{"queue_name":' .. cjson.encode(queue) .. ',"actor_name":' .. cjson.encode(queue)
    .. ',"args":[' .. cjson.encode(id) .. '],"kwargs":{},"options":{"redis_message_id":' .. cjson.encode(bell)
    .. '},"message_id":' .. cjson.encode(bell) .. ',"message_timestamp":' .. int(NOW) .. '}'
  redis.call('HSET', DRAMATIQ .. queue .. '.msgs', bell, message)
  redis.call('RPUSH', DRAMATIQ .. queue, bell)
  if redis.call('RPUSH', P .. 'wake:' .. queue, '1') > 1000 then
    redis.call('LTRIM', P .. 'wake:' .. queue, -1000, -1)
  end
end

local function lane_has(base, tenant, lane)
  return redis.call('ZCOUNT', base .. ':t:' .. tenant, int(lane * LANE), '(' .. int((lane + 1) * LANE)) > 0
end

-- Which tenants wait, and in which lanes, follows from the tenant's own jobs.
local function index_tenant(base, tenant, score)
  if redis.call('ZCARD', base .. ':t:' .. tenant) == 0 then
    redis.call('ZREM', base, tenant)
  else
    redis.call('ZADD', base, score, tenant)
  end
  for lane = 0, 2 do
    if lane_has(base, tenant, lane) then
      redis.call('ZADD', base .. ':p' .. lane, score, tenant)
    else
      redis.call('ZREM', base .. ':p' .. lane, tenant)
    end
  end
end

local function make_ready(job)
  local base = P .. 'ready:' .. job.queue
  local lane = LANES[job.priority] or 1
  -- The age of the job is its place: what comes back after a crash stands at the head again.
  redis.call('ZADD', base .. ':t:' .. job.tenant, int(lane * LANE + tonumber(job.created_ms)), job.id)
  local score = redis.call('ZSCORE', base, job.tenant)
  if not score then
    score = tostring(tonumber(redis.call('GET', base .. ':turn') or '0') - 0.5)
    redis.call('ZADD', base, score, job.tenant)
  end
  redis.call('ZADD', base .. ':p' .. lane, score, job.tenant)
  redis.call('ZADD', P .. 'queued:' .. job.queue, int(NOW), job.id)
  ring(job.queue, job.id)
end

local function unready(job)
  local base = P .. 'ready:' .. job.queue
  if redis.call('ZREM', base .. ':t:' .. job.tenant, job.id) == 1 then
    local score = redis.call('ZSCORE', base, job.tenant)
    index_tenant(base, job.tenant, score or '0')
  end
  redis.call('ZREM', P .. 'queued:' .. job.queue, job.id)
  redis.call('ZREM', P .. 'due', job.id)
end

-- The jobs one process holds: one that it works at, and those that wait for media in it.
local function holds_key(owner)
  return P .. 'holds:' .. owner
end

local function drop_lease(job)
  redis.call('ZREM', P .. 'leases', job.id)
  if job.owner and job.owner ~= '' then
    redis.call('SREM', holds_key(job.owner), job.id)
    set(job, 'owner', '')
  end
end

local function put_back(job)
  drop_lease(job)
  set_state(job, 'queued')
  make_ready(job)
end

local function conclude(job, state, result, err)
  drop_lease(job)
  unready(job)
  set_state(job, state)
  set(job, 'finished_ms', int(NOW), 'result', result, 'error', err, 'eta_s', '', 'waiting_until', '')
  if state == 'succeeded' then
    set(job, 'progress', '1')
    emit(job, 'job.succeeded', '{"result":' .. result .. '}')
  elseif state == 'failed' then
    emit(job, 'job.failed', '{"error":' .. err .. '}')
  else
    emit(job, 'job.cancelled', {})
  end
  if state ~= 'succeeded' and job.dedup ~= '' then
    local key = P .. 'dedup:' .. job.tenant .. ':' .. job.dedup
    if redis.call('GET', key) == job.id then
      redis.call('DEL', key)
    end
  end
  redis.call('ZADD', P .. 'finished', int(NOW), job.id)
  count('finished', job.kind .. '|' .. state)
end

local function error_json(code, message, retryable, stage)
  local out = '{"code":' .. cjson.encode(code) .. ',"message":' .. cjson.encode(message)
    .. ',"retryable":' .. (retryable and 'true' or 'false') .. ',"stage":'
  return out .. ((stage and stage ~= '') and cjson.encode(stage) or 'null') .. '}'
end

-- The job of a lease that still holds, or nil.
local function held(id, fence)
  local job = read(id)
  if job and job.fence == fence and job.owner and job.owner ~= '' then
    return job
  end
  return nil
end

-- What kills its worker must not use up the attempts of those that only waited beside it; but a
-- job may kill where it looks whether its wait is over, so it is spared so often and no more.
local function spare(job)
  local spared = tonumber(job.spared or '0')
  if job.state == 'waiting' and spared < 20 then
    set(job, 'spared', int(spared + 1), 'attempt', int(tonumber(job.attempt) - 1))
  end
end

-- A worker is gone without a word: again from the queue, unless that was its last attempt.
local function recover(job)
  count('lapsed', job.kind)
  spare(job)
  if job.cancel == '1' then
    conclude(job, 'cancelled', '', '')
  elseif tonumber(job.attempt) >= tonumber(job.allowance) then
    conclude(job, 'failed', '', error_json('attempts_exhausted',
      'the worker ended ' .. job.attempt .. ' times while at this job', true, job.stage))
  else
    emit(job, 'job.retrying', { code = 'worker_lost', message = 'the worker at this job is gone' })
    count('retried', job.kind)
    put_back(job)
  end
end

-- Webhooks. Everything of one stands under its own key, which holds the tenant's id, so that both
-- can be forgotten; `hooks` says when to look at which of them next.
local function hook_key(tenant, hook)
  return P .. 'hook:' .. tenant .. ':' .. hook
end

local function hook_busy_key(tenant)
  return P .. 'hook-busy:' .. tenant
end

local function arm_hook(tenant, hook)
  local base = hook_key(tenant, hook)
  local first = redis.call('ZRANGE', base .. ':due', 0, 0, 'WITHSCORES')
  if first[2] then
    local pause = tonumber(redis.call('HGET', base, 'pause_until') or '0')
    redis.call('ZADD', P .. 'hooks', int(math.max(tonumber(first[2]), pause)), tenant .. ' ' .. hook)
  else
    redis.call('ZREM', P .. 'hooks', tenant .. ' ' .. hook)
  end
end

local function deliver(tenant, hook, id)
  local base = hook_key(tenant, hook)
  redis.call('ZADD', base .. ':due', int(NOW), id)
  redis.call('ZADD', base .. ':log', 0, id)
  redis.call('ZADD', P .. 'hooks-pending', int(NOW), tenant .. ' ' .. hook .. ' ' .. id)
  redis.call('HSET', base .. ':d:' .. id, 'state', 'pending', 'first_ms', int(NOW), 'next_ms', int(NOW), 'finished_ms', '')
end

local function add_delivery(tenant, hook, id, ...)
  local key = hook_key(tenant, hook) .. ':d:' .. id
  if redis.call('EXISTS', key) == 0 then
    redis.call('SADD', P .. 'hooks-known', tenant .. ' ' .. hook)
    redis.call('HSET', key, 'created_ms', int(NOW), 'attempts', '0', 'fence', '0', ...)
    deliver(tenant, hook, id)
  end
end

-- The log keeps so many deliveries that have ended.
local function trim_deliveries(base, excess)
  if excess > 0 then
    local old = redis.call('ZPOPMIN', base .. ':done', excess)
    for i = 1, #old, 2 do
      redis.call('ZREM', base .. ':log', old[i])
      redis.call('DEL', base .. ':d:' .. old[i])
    end
  end
end

local function end_delivery(tenant, hook, id, state)
  local base = hook_key(tenant, hook)
  redis.call('HSET', base .. ':d:' .. id, 'state', state, 'finished_ms', int(NOW), 'next_ms', '')
  redis.call('ZREM', base .. ':due', id)
  redis.call('ZREM', P .. 'hooks-pending', tenant .. ' ' .. hook .. ' ' .. id)
  redis.call('ZREM', hook_busy_key(tenant), hook .. ' ' .. id)
  redis.call('ZADD', base .. ':done', int(NOW), id)
  trim_deliveries(base, redis.call('ZCARD', base .. ':done') - 1000)
end
