-- again(tenant, id, allowance): a client asks for a failed job once more.
local job = read(ARGV[2])
if not job or job.tenant ~= ARGV[1] then
  return { 'not_found', {} }
end
if job.state ~= 'failed' then
  return { 'job_not_failed', {} }
end
if job.dedup ~= '' then
  local key = P .. 'dedup:' .. job.tenant .. ':' .. job.dedup
  local other = redis.call('GET', key)
  if other and other ~= job.id and redis.call('EXISTS', job_key(other)) == 1 then
    return { 'conflict', {}, other }
  end
  redis.call('SET', key, job.id)
end
redis.call('HDEL', job_key(job.id), 'finished_ms', 'result')
redis.call('ZREM', P .. 'finished', job.id)
set(job, 'error', '', 'progress', '', 'stage', '', 'cancel', '0', 'resumed', '0',
  'allowance', int(tonumber(job.attempt) + tonumber(ARGV[3])))
emit(job, 'job.queued', { kind = job.kind })
put_back(job)
return { 'ok', redis.call('HGETALL', job_key(job.id)) }
