-- reap(limit, lease_ms): lapsed leases and due jobs, back to their queues.
local limit = tonumber(ARGV[1])
local longest = int(NOW + tonumber(ARGV[2]))
-- No lease reaches further, unless the clock was set back: a dead worker's would be kept as long.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '(' .. longest, '+inf')) do
  redis.call('ZADD', P .. 'leases', longest, id)
end
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
