-- status b : one consistent snapshot for people. Answers {now, batch fields, earliest due, live workers that could serve it,
-- live workers of its class, [what is paused, since]..., the first due time that is still to come, all live workers,
-- [relay name, fields]...};
-- an empty list for a batch that is not there. A relay that a person has paused has the field `paused_at`.
if call('EXISTS', B) == 0 then return {} end
local first = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
local coming = call('ZRANGEBYSCORE', DUE, '('..now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local c, of_class, alive, relays, seen = class(), 0, 0, {}, {}
for _, w in ipairs(workers()) do
  alive = alive + 1
  if (tonumber(c == 'bulk' and w[4] or w[3]) or 0) > 0 then of_class = of_class + 1 end
  for name in w[1]:gmatch('[^,]+') do if not seen[name] then seen[name] = true; relays[#relays + 1] = name end end
end
local pauses = {}
local function paused(what, into, name)
  local since = call('HGET', P..'paused', what)
  if since then into[#into + 1] = name; into[#into + 1] = since end
end
paused('spool', pauses, 'spool'); paused(c, pauses, c)
local answer = {now, call('HGETALL', B), first[2] or false, served() and 1 or 0, of_class, pauses,
  coming[2] or false, alive}
for _, name in ipairs(relays) do
  local told = redis.pcall('HGETALL', P..'route:'..name)
  if told.err then told = {} end                      -- somebody else has written there; the batch has nothing to do with it
  paused('relay:'..name, told, 'paused_at')
  answer[#answer + 1] = name; answer[#answer + 1] = told
end
return answer
