-- release(owner): its process is dead, so its job starts again now.
local id = redis.call('HGET', P .. 'owners', ARGV[1])
if not id then
  return 0
end
redis.call('HDEL', P .. 'owners', ARGV[1])
local job = read(id)
if not job or job.owner ~= ARGV[1] then
  return 0
end
recover(job)
return 1
