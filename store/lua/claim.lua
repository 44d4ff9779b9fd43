-- claim(queue, owner, nonce, lease_ms, known...): the fairest queued job, attempt + 1, fence + 1, a
-- lease. Known are the jobs its owner knows it holds: another was leased to it in an answer it lost.
local queue, owner, nonce, lease_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local base = P .. 'ready:' .. queue

local function lease_of(job)
  return { job.id, job.tenant, job.kind, job.fence, job.attempt, job.allowance, job.command,
    job.created_ms, job.intent or '' }
end

-- One tenant's backlog, however urgent, never passes another's one job twice.
local function fairest_tenant()
  local head = redis.call('ZRANGE', base, 0, 0, 'WITHSCORES')
  if #head == 0 then
    return nil
  end
  local turn = tonumber(redis.call('GET', base .. ':turn') or '0')
  if turn - tonumber(head[2]) > redis.call('ZCARD', base) - 1 then
    return head[1]
  end
  for lane = 0, 2 do
    local first = redis.call('ZRANGE', base .. ':p' .. lane, 0, 0)
    if first[1] then
      return first[1]
    end
  end
  return head[1]
end

local function pop()
  local tenant = fairest_tenant()
  if not tenant then
    return nil
  end
  local popped = redis.call('ZPOPMIN', base .. ':t:' .. tenant)
  index_tenant(base, tenant, int(redis.call('INCR', base .. ':turn')))
  if popped[1] then
    redis.call('ZREM', P .. 'queued:' .. queue, popped[1])
  end
  return popped[1] or ''
end

local function take(job)
  set(job, 'attempt', int(tonumber(job.attempt) + 1), 'fence', int(tonumber(job.fence) + 1),
    'owner', owner, 'nonce', nonce, 'heartbeat_ms', int(NOW), 'waiting_until', '', 'error', '')
  if not job.started_ms then
    set(job, 'started_ms', int(NOW))
  end
  if job.resumed ~= '1' then
    set(job, 'progress', '', 'stage', '')
  end
  set(job, 'resumed', '0', 'eta_s', '')
  redis.call('ZADD', P .. 'leases', int(NOW + lease_ms), job.id)
  redis.call('SADD', holds_key(owner), job.id)
  set_state(job, 'running')
  emit(job, 'job.started', {})
  return lease_of(job)
end

local known = {}
for i = 5, #ARGV do
  known[ARGV[i]] = true
end
for _, id in ipairs(redis.call('SMEMBERS', holds_key(owner))) do
  local job = read(id)
  if not job or job.owner ~= owner then
    redis.call('SREM', holds_key(owner), id)
  elseif job.nonce == nonce then
    return lease_of(job)
  elseif not known[id] then
    recover(job)
  end
end

for _ = 1, 1000 do
  local id = pop()
  if not id then
    return false
  end
  local job = id ~= '' and read(id)
  if job and job.state == 'queued' then
    if tonumber(job.attempt) >= tonumber(job.allowance) then
      conclude(job, 'failed', '', error_json('attempts_exhausted', 'no attempt is left', true, job.stage))
    else
      return take(job)
    end
  end
end
return false
