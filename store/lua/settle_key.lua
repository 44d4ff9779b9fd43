-- settle_key(tenant, key, body, word, settled, ttl_s): a claim becomes what came of it, or nothing.
local name = P .. 'idem:' .. ARGV[1] .. ':' .. ARGV[2]
local known = redis.call('GET', name)
-- It may have lapsed meanwhile, and be another request's now.
if known and known ~= ARGV[3] .. '|' .. ARGV[4] then
  return
end
if ARGV[5] == '' then
  redis.call('DEL', name)
else
  redis.call('SET', name, ARGV[3] .. '|' .. ARGV[5], 'EX', ARGV[6])
end
