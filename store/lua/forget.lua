-- forget(older_than_ms, limit): records of jobs that ended long ago.
local old = redis.call('ZRANGEBYSCORE', P .. 'finished', '-inf', int(NOW - tonumber(ARGV[1])), 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(old) do
  local job = read(id)
  redis.call('ZREM', P .. 'finished', id)
  if job then
    redis.call('ZREM', P .. 'jobs:' .. job.tenant, id)
    redis.call('ZREM', P .. 'jobs:' .. job.tenant .. ':' .. job.state, id)
    if job.dedup ~= '' then
      local key = P .. 'dedup:' .. job.tenant .. ':' .. job.dedup
      if redis.call('GET', key) == id then
        redis.call('DEL', key)
      end
    end
  end
  redis.call('DEL', job_key(id), P .. 'job:' .. id .. ':events')
end
return #old
