-- finish(id, fence, state, result, error, {type, data}...): what else is told comes last.
local job = held(ARGV[1], ARGV[2])
if not job then
  local known = read(ARGV[1])
  if known and known.fence == ARGV[2] and known.state == ARGV[3] then
    return 'held'
  end
  return 'lost'
end
conclude(job, ARGV[3], ARGV[4], ARGV[5])
if ARGV[3] == 'succeeded' and job.ready_event ~= '' then
  -- An upload's event is the upload itself.
  local upload = job.ready_event == 'upload.completed'
  emit(job, job.ready_event, upload and ARGV[4] or '{"result":' .. ARGV[4] .. '}')
end
for i = 6, #ARGV, 2 do
  emit(job, ARGV[i], ARGV[i + 1])
end
return 'held'
