-- hook_stats(): how many deliveries wait, and for how long the oldest has.
local first = redis.call('ZRANGE', P .. 'hooks-pending', 0, 0, 'WITHSCORES')
local age = first[2] and math.max(0, NOW - tonumber(first[2])) or 0
return { redis.call('ZCARD', P .. 'hooks-pending'), int(age) }
