-- renew [b k token]... : every run of a process. Answers per run the batch's state, or LOST.
local answers = {}
for j = 2, #ARGV, 3 do
  at(ARGV[j])
  local k, member = ARGV[j + 1], ARGV[j]..':'..ARGV[j + 1]
  if call('HGET', RUN, k) ~= 'run:'..ARGV[j + 2] then answers[#answers + 1] = 'LOST'
  else
    call('ZADD', P..'flight:'..class(), 'XX', now + @lease_ms@, member)
    call('ZADD', P..'apart:'..class(), 'XX', now + @lease_ms@, member)
    answers[#answers + 1] = state()
  end
end
return answers
