-- claim_key(tenant, key, body, word, ttl_s): what a key stands for; the word, where nobody had it.
local name = P .. 'idem:' .. ARGV[1] .. ':' .. ARGV[2]
local known = redis.call('GET', name)
if not known then
  redis.call('SET', name, ARGV[3] .. '|' .. ARGV[4], 'EX', ARGV[5])
  return ARGV[4]
end
-- The body may hold the mark too; the word never does.
local body, word = string.match(known, '^(.*)|(.+)$')
return body == ARGV[3] and word or false
