-- thumbs: what pictures of media lie in the media store, how large they are, and when each was
-- last looked at.
local B = P .. 'thumbs:'
local op, name = ARGV[1], ARGV[2]

if op == 'put' then
  -- put(name, size, at): held with this size; looked at no earlier than then.
  local before = tonumber(redis.call('HGET', B .. 'sizes', name) or '0')
  redis.call('HSET', B .. 'sizes', name, ARGV[3])
  redis.call('INCRBY', B .. 'bytes', int(tonumber(ARGV[3]) - before))
  local at = ARGV[4] == '' and NOW or tonumber(ARGV[4])
  local known = tonumber(redis.call('ZSCORE', B .. 'used', name) or '0')
  redis.call('ZADD', B .. 'used', int(math.max(at, known)), name)
  return 1
end

if op == 'over' then
  -- over('', limit, most): what to remove so that so much is left, least recently used first.
  local left, found = tonumber(redis.call('GET', B .. 'bytes') or '0'), {}
  local limit, most = tonumber(ARGV[3]), tonumber(ARGV[4])
  for _, one in ipairs(redis.call('ZRANGE', B .. 'used', 0, most - 1)) do
    if left <= limit then
      break
    end
    left = left - tonumber(redis.call('HGET', B .. 'sizes', one) or '0')
    found[#found + 1] = one
  end
  return found
end

if op == 'gone' then
  local before = redis.call('HGET', B .. 'sizes', name)
  if before then
    redis.call('INCRBY', B .. 'bytes', '-' .. before)
  end
  redis.call('HDEL', B .. 'sizes', name)
  redis.call('ZREM', B .. 'used', name)
  return 1
end
