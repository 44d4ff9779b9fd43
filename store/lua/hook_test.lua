-- hook_test(tenant, hook, type, data): a delivery of nothing but a greeting; its id and the time.
local seq = 900000 + redis.call('INCR', P .. 'hook-tests') % 100000
local id = 'dlv_' .. string.format('%013.0f%06.0f_', NOW, seq) .. string.sub(ARGV[2], -16)
add_delivery(ARGV[1], ARGV[2], id, 'kind', 'test', 'event', int(NOW) .. '-' .. int(seq), 'type', ARGV[3],
  'job', '', 'attempt', '0', 'seq', '0', 'at', int(NOW), 'data', ARGV[4])
arm_hook(ARGV[1], ARGV[2])
return id
