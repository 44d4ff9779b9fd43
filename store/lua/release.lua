-- release(owner): its process is dead, so all its jobs start again now.
local released = 0
for _, id in ipairs(redis.call('SMEMBERS', holds_key(ARGV[1]))) do
  local job = read(id)
  if job and job.owner == ARGV[1] then
    recover(job)
    released = released + 1
  end
end
redis.call('DEL', holds_key(ARGV[1]))
return released
