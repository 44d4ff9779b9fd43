-- publish_intent(id, fence, intent): the intent, in place of an earlier one.
local job = held(ARGV[1], ARGV[2])
if not job then
  return 'lost'
end
set(job, 'intent', ARGV[3])
return 'held'
