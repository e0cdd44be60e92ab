-- drained class : may a worker with --drain go? Answers {what keeps it (0 = nothing), batches that stay for another time}.
local c = ARGV[2]
local busy = call('ZCARD', P..'flight:'..c) + call('ZCARD', P..'apart:'..c)
local stay = 0
if not paused_class(c) then
  busy = busy + call('ZCARD', P..'open:'..c) + call('ZCOUNT', P..'later:'..c, '-inf', now)
  for _, batch in ipairs(call('ZRANGE', P..'later:'..c, 0, -1)) do
    at(batch)
    local known, rate_until = pcall(num, 'rate_until')
    if known and rate_until > now then busy = busy + 1 else stay = stay + 1 end
  end
else stay = call('ZCARD', P..'open:'..c) + call('ZCARD', P..'later:'..c) end
return {busy, stay}
