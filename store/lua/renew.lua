-- renew(id, fence, lease_ms)
local job = held(ARGV[1], ARGV[2])
if not job then
  return 'lost'
end
redis.call('ZADD', P .. 'leases', int(NOW + tonumber(ARGV[3])), job.id)
set(job, 'heartbeat_ms', int(NOW))
return job.cancel == '1' and 'cancelled' or 'held'
