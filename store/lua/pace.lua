-- pace(name, bytes_per_s, count): the microseconds until so many bytes may have moved. Grants of
-- one name follow each other in the order they are asked for; a name nobody uses is forgotten.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
local key = P .. 'pace:' .. ARGV[1]
local free = math.max(now, tonumber(redis.call('GET', key) or '0'))
free = free + math.ceil(tonumber(ARGV[3]) * 1000000 / tonumber(ARGV[2]))
local wait = free - now
redis.call('SET', key, int(free), 'PX', int(math.ceil(wait / 1000) + 60000))
return wait
