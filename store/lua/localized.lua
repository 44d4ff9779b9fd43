-- localized: the index of what lies in the media store, by one name a file.
local B = P .. 'localized:'
local op, name = ARGV[1], ARGV[2]

local function pinned(n)
  return redis.call('ZCOUNT', B .. 'pins:' .. n, int(NOW), '+inf') > 0
end

local function count_fingerprint(n, by)
  local tenant, fingerprint = string.match(n, '^([^/]*)/([^/]*)/')
  local left = redis.call('HINCRBY', B .. 'sources:' .. tenant, fingerprint, by)
  if left <= 0 then
    redis.call('HDEL', B .. 'sources:' .. tenant, fingerprint)
  end
end

local function take_out(n)
  local record = redis.call('HGET', B .. 'records', n)
  local size = redis.call('HGET', B .. 'sizes', n)
  if not record then
    return
  end
  redis.call('INCRBY', B .. 'bytes', '-' .. size)
  redis.call('HDEL', B .. 'records', n)
  redis.call('HDEL', B .. 'sizes', n)
  redis.call('ZREM', B .. 'used', n)
  redis.call('ZADD', B .. 'doomed', int(NOW), n .. '\n' .. record)
  count_fingerprint(n, -1)
end

if op == 'put' then
  local record, size, at, fresh = ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
  local before = redis.call('HGET', B .. 'records', name)
  if before == record then
    return 'same'
  end
  if before then
    local held = cjson.decode(before)
    if held.localizedMs > at then
      redis.call('ZADD', B .. 'doomed', int(NOW), name .. '\n' .. record)
      return 'older'
    end
    if held.key == cjson.decode(record).key then
      redis.call('ZADD', B .. 'used', int(NOW), name)
      return 'same'
    end
    take_out(name)
  end
  redis.call('ZREM', B .. 'doomed', name .. '\n' .. record)
  redis.call('HSET', B .. 'records', name, record)
  redis.call('HSET', B .. 'sizes', name, size)
  redis.call('INCRBY', B .. 'bytes', size)
  redis.call('ZADD', B .. 'used', fresh == '1' and int(NOW) or int(at), name)
  count_fingerprint(name, 1)
  return 'new'
end

if op == 'use' then
  local record = redis.call('HGET', B .. 'records', name)
  if record then
    redis.call('ZADD', B .. 'used', int(NOW), name)
    redis.call('ZADD', B .. 'pins:' .. name, int(NOW + tonumber(ARGV[4])), ARGV[3])
    redis.call('PEXPIRE', B .. 'pins:' .. name, 86400000)
  end
  return record
end

if op == 'drop' then
  take_out(name)
  return 'ok'
end

if op == 'evict' then
  local limit, most, seen, out = tonumber(ARGV[3]), tonumber(ARGV[4]), 0, 0
  while out < most and tonumber(redis.call('GET', B .. 'bytes') or '0') > limit do
    local next_ = redis.call('ZRANGE', B .. 'used', seen, seen)[1]
    if not next_ then
      break
    end
    if pinned(next_) then
      seen = seen + 1
    else
      take_out(next_)
      out = out + 1
    end
  end
  return out
end

if op == 'doomed' then
  local found = {}
  for _, entry in ipairs(redis.call('ZRANGE', B .. 'doomed', 0, tonumber(ARGV[3]) - 1)) do
    if not pinned(string.match(entry, '^([^\n]*)\n')) then
      found[#found + 1] = entry
    end
  end
  return found
end

if op == 'generation' then
  local now = tonumber(redis.call('HGET', B .. 'generations', name) or '0')
  if ARGV[3] ~= '' and tonumber(ARGV[3]) == now then
    now = redis.call('HINCRBY', B .. 'generations', name, 1)
  end
  return now
end
