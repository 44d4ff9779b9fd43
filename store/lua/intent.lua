-- publish_intent(id, fence, intent): the earlier intent where there is one.
local job = held(ARGV[1], ARGV[2])
if not job then
  return { 'lost', '' }
end
if not job.intent or job.intent == '' then
  set(job, 'intent', ARGV[3])
end
return { 'held', job.intent }
