-- waiting(id, fence, until_ms, release)
local job = held(ARGV[1], ARGV[2])
if not job then
  local known = read(ARGV[1])
  if known and known.fence == ARGV[2] and known.state == 'waiting' then
    return 'held'
  end
  return 'lost'
end
if job.state ~= 'waiting' then
  set_state(job, 'waiting')
  emit(job, 'job.waiting', { untilMs = tonumber(ARGV[3]) })
end
set(job, 'waiting_until', ARGV[3])
if ARGV[4] == '1' and job.cancel == '1' then
  conclude(job, 'cancelled', '', '')
elseif ARGV[4] == '1' then
  drop_lease(job)
  set(job, 'attempt', int(tonumber(job.attempt) - 1), 'resumed', '1')
  redis.call('ZADD', P .. 'due', ARGV[3], job.id)
end
return 'held'
