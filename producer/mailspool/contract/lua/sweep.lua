-- sweep class : leases that ran out, and fed chunks that nobody took; 100 of each a call.
-- Answers {how many were freed, name, why it was set aside...}. What was set aside comes back, to be looked at again.
-- A fed chunk that still lies in arq is looked at again later; else its arq keys go, so that no stale id stays behind.
local c, freed = ARGV[2], 0
local function back(member)
  local batch, k = member:match('^(.-):(.+)$')
  of_class(batch, c)
  local held = call('ZSCORE', P..'flight:'..c, member) or call('ZSCORE', P..'apart:'..c, member)
  if not held and call('HEXISTS', RUN, k) == 1 then call('ZADD', P..'flight:'..c, now, member) end
  call('ZREM', P..'aside:'..c, member)
end
for _, member in ipairs(call('ZRANGEBYSCORE', P..'aside:'..c, '-inf', now, 'LIMIT', 0, 100)) do
  guarded(P..'aside:'..c, member, back)
end
for _, zset in ipairs{P..'flight:'..c, P..'apart:'..c} do
  local function look(member)
    local batch, k = member:match('^(.-):(.+)$')
    at(batch)
    local run = call('HGET', RUN, k)
    if not run then call('ZREM', zset, member)
    else
      of_class(batch, c)
      local id = P..b..':'..k..':'..(run:match('^%a+:(%d+)') or '')
      local queue, ours = P..'q:'..c..':v'..get('v'), P..'q:'..c..':v@record_version@'   -- a later release feeds, too
      local waits = call('ZSCORE', queue, id) or call('ZSCORE', ours, id)
      local fed = run:sub(1, 3) == 'fed'
      if fed and waits and call('EXISTS', 'arq:job:'..id) == 1
        and call('EXISTS', 'arq:in-progress:'..id) == 0 and served() then
        call('ZADD', zset, now + @feed_grace_ms@, member)
      else
        readable(k)
        call('ZREM', ours, id); call('ZREM', queue, id); call('DEL', 'arq:job:'..id, 'arq:in-progress:'..id, 'arq:retry:'..id)
        drop(k); freed = freed + 1
        local lost = tonumber(call('HGET', LOST, k) or 0)
        unclaim(k, lost >= @suspect_runs@ and get('claim') ~= '1' and 'f' or 'u')
        if not fed then call('HINCRBY', LOST, k, 1) end
        rest(k)
      end
    end
  end
  for _, member in ipairs(call('ZRANGEBYSCORE', zset, '-inf', now, 'LIMIT', 0, 100)) do
    if not guarded(P..'aside:'..c, member, look) then call('ZREM', zset, member) end
  end
end
return {freed, unpack(aside)}
