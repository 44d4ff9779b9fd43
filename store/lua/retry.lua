-- retry(id, fence, delay_ms, counted, error, code, message)
local job = held(ARGV[1], ARGV[2])
if not job then
  local known = read(ARGV[1])
  if known and known.fence == ARGV[2] and (known.state == 'queued' or FINAL[known.state]) then
    return 'held'
  end
  return 'lost'
end
local counted = ARGV[4] == '1'
if job.cancel == '1' then
  conclude(job, 'cancelled', '', '')
  return 'held'
end
if counted and tonumber(job.attempt) >= tonumber(job.allowance) then
  conclude(job, 'failed', '', ARGV[5])
  return 'held'
end
local due = NOW + tonumber(ARGV[3])
emit(job, 'job.retrying', { code = ARGV[6], message = ARGV[7], retryAtMs = due })
set(job, 'error', ARGV[5])
if counted then
  count('retried', job.kind)
else
  set(job, 'attempt', int(tonumber(job.attempt) - 1), 'resumed', '1')
end
if tonumber(ARGV[3]) <= 0 then
  put_back(job)
else
  drop_lease(job)
  set_state(job, 'queued')
  redis.call('ZADD', P .. 'due', int(due), job.id)
end
return 'held'
