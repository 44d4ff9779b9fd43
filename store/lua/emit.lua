-- emit(tenant, type, data): something that happened outside every job.
return redis.call('XADD', P .. 'events:' .. ARGV[1], 'MAXLEN', '~', kept_events(ARGV[1]), '*', 'type', ARGV[2],
  'job', '', 'attempt', '0', 'seq', '0', 'at', int(NOW), 'data', ARGV[3])
