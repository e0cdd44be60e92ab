-- renew [b k token]... : every run of a process. Answers per run the batch's state, or LOST; that, too, where somebody else
-- has written into its records: the other leases must not run out for it.
local answers = {}
local function renewed(k, token)
  local member = b..':'..k
  if call('HGET', RUN, k) ~= 'run:'..token then return 'LOST' end
  call('ZADD', P..'flight:'..class(), 'XX', now + @lease_ms@, member)
  call('ZADD', P..'apart:'..class(), 'XX', now + @lease_ms@, member)
  return state()
end
for j = 2, #ARGV, 3 do
  at(ARGV[j])
  local done, answer = pcall(renewed, ARGV[j + 1], ARGV[j + 2])
  answers[#answers + 1] = done and answer or 'LOST'
end
return answers
