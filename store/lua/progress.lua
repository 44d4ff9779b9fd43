-- progress(id, fence, stage, fraction, eta_s): empty means unknown; never falls within an attempt.
local job = held(ARGV[1], ARGV[2])
if not job then
  return 'lost'
end
local stage, fraction = ARGV[3], ARGV[4]
local before = job.progress or ''
if fraction == '' or (before ~= '' and tonumber(before) > tonumber(fraction)) then
  fraction = before
end
set(job, 'progress', fraction, 'eta_s', ARGV[5], 'waiting_until', '')
if stage ~= '' then
  set(job, 'stage', stage)
end
local was = job.state
set_state(job, 'running')
if was == 'waiting' then
  emit(job, 'job.started', {})
end
local since = NOW - tonumber(job.progress_event_ms or '0')
-- Below nothing: the clock was set back.
if since >= 1000 or since < 0 then
  set(job, 'progress_event_ms', int(NOW))
  local data = {}
  if stage ~= '' then data.stage = stage end
  if fraction ~= '' then data.progress = tonumber(fraction) end
  if ARGV[5] ~= '' then data.etaSeconds = tonumber(ARGV[5]) end
  emit(job, 'job.progress', data)
end
return 'held'
