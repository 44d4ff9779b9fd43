-- queue_stats(queue): how many wait, and since when the oldest does, in ms.
local oldest = redis.call('ZRANGE', P .. 'queued:' .. ARGV[1], 0, 0, 'WITHSCORES')
local age = oldest[2] and math.max(0, NOW - tonumber(oldest[2])) or 0
return { redis.call('ZCARD', P .. 'queued:' .. ARGV[1]), int(age) }
