-- cancel(tenant, id): at once where nobody works on it, else by a flag the worker sees.
local job = read(ARGV[2])
if not job or job.tenant ~= ARGV[1] then
  return { 'not_found', {} }
end
if FINAL[job.state] then
  return { 'job_finished', {} }
end
if job.owner ~= '' then
  set(job, 'cancel', '1')
else
  conclude(job, 'cancelled', '', '')
end
return { 'ok', redis.call('HGETALL', job_key(job.id)) }
