-- reap(limit): lapsed leases and due jobs, back to their queues.
local limit = tonumber(ARGV[1])
local lapsed = redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', int(NOW), 'LIMIT', 0, limit)
for _, id in ipairs(lapsed) do
  local job = read(id)
  if job and job.owner and job.owner ~= '' then
    recover(job)
  else
    redis.call('ZREM', P .. 'leases', id)
  end
end
local due = redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', int(NOW), 'LIMIT', 0, limit)
for _, id in ipairs(due) do
  redis.call('ZREM', P .. 'due', id)
  local job = read(id)
  if job and (job.state == 'waiting' or job.state == 'queued') then
    put_back(job)
  end
end
return { #lapsed, #due }
