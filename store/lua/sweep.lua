-- sweep(queue, older_than_ms): as many bells as jobs that wait in silence.
local queue = ARGV[1]
local waiting = redis.call('ZCARD', P .. 'queued:' .. queue)
local old = redis.call('ZRANGEBYSCORE', P .. 'queued:' .. queue, '-inf', int(NOW - tonumber(ARGV[2])), 'LIMIT', 0, 1000)
local missing = math.min(#old, waiting - redis.call('LLEN', DRAMATIQ .. queue))
for i = 1, missing do
  ring(queue, old[i])
end
return math.max(missing, 0)
