-- fetch(queue): the next bell, taken out for good: what it rings for is in the record.
local bell = redis.call('LPOP', DRAMATIQ .. ARGV[1])
if not bell then
  return false
end
local message = redis.call('HGET', DRAMATIQ .. ARGV[1] .. '.msgs', bell)
redis.call('HDEL', DRAMATIQ .. ARGV[1] .. '.msgs', bell)
return message or ''
