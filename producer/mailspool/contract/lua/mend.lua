-- mend b [k...] : what verify found out of order in a batch and these chunks is derived again from what is written.
-- What is in order stays as it is. Counters: recount, before this for a batch that has nothing to do. Answers 1, or 0 if it may not.
local s = get('state')
if not class() or s ~= 'live' and s ~= 'held' and s ~= 'closing' and s ~= 'done' and s ~= 'closed' then return 0 end
local flight, apart, odd = P..'flight:'..class(), P..'apart:'..class(), P..'odd:'..b
local function lease(k, fed)                          -- exactly one; the sweep looks at a new one at once
  local member = b..':'..k
  local in_flight, in_apart = call('ZSCORE', flight, member), call('ZSCORE', apart, member)
  if in_apart and (fed or in_flight) then call('ZREM', apart, member); in_apart = false end
  if not in_flight and not in_apart then call('ZADD', flight, now, member) end
end
local function outcomes_of(k, rows)                   -- answers how many are final
  local h, final, limit = call('HGETALL', outcomes(k)), 0, max(num('expires'), now)
  for i = 1, #h, 2 do
    local l, index = letter(h[i + 1]), tonumber(h[i])
    if not index or index >= rows then call('HDEL', outcomes(k), h[i])
    else
      if FINAL[l] then final = final + 1 end
      if l == 'd' and when(h[i + 1]) > limit then call('HSET', outcomes(k), h[i], deferred_until(now, h[i + 1]:sub(15))) end
      if l and l ~= 's' and l ~= 'c' then call('SADD', odd, k) end
    end
  end
  return final
end
for j = 3, #ARGV do
  local k = ARGV[j]
  local rows, run = tonumber(call('HGET', ROWS, k) or nil), call('HGET', RUN, k)
  local fed, runs = run and run:sub(1, 4) == 'fed:', run and run:sub(1, 4) == 'run:'
  if not rows then drop(k); call('ZREM', DUE, k); call('HDEL', LOST, k); call('SREM', odd, k)
  else
    if not runs then unclaim(k, 'u') end
    local open = outcomes_of(k, rows) < rows
    s = get('state')
    if (fed or runs) and s ~= 'done' and s ~= 'closed' then call('ZREM', DUE, k); lease(k, fed)
    else
      drop(k)
      if open and s == 'done' then wake() end
      local due = tonumber(call('ZSCORE', DUE, k) or nil)
      local never = due and (due == 1 / 0 or due == -1 / 0)
      if open and s ~= 'closing' and s ~= 'closed' and (not due or never) then rest(k) end
    end
  end
end
s = get('state')
if s == 'closing' then
  local runs = call('HGETALL', RUN)
  for i = 1, #runs, 2 do if runs[i + 1]:sub(1, 4) ~= 'run:' then drop(runs[i]) end end
  if call('HLEN', RUN) == 0 then finish() end
elseif s ~= 'done' and s ~= 'closed' then
  call('ZADD', P..'deadline', num('expires'), b); call('ZREM', P..'retire', b); call('HDEL', B, 'finished')
  local final = num('n_sent') + num('n_failed') + num('n_uncertain') + num('n_suppressed')
  if call('ZCARD', DUE) == 0 and call('HLEN', RUN) == 0 and final == num('total') then asleep('done') end
end
s = get('state')
if s == 'done' or s == 'closed' then
  for _, k in ipairs(call('HKEYS', RUN)) do drop(k) end
  call('DEL', DUE, RUN, LOST)
  if get('finished') and call('ZSCORE', P..'retire', b) then call('ZREM', P..'deadline', b) else asleep(s) end
elseif s == 'closing' then call('ZREM', P..'deadline', b); call('ZREM', P..'retire', b) end
call('ZADD', P..'batches', num('created'), b); call('ZADD', P..'ids', 0, b)
local key, u = get('key') or '', get('upload')
if key ~= '' then
  local of = call('GET', P..'key:'..key)
  if not of or of ~= b and call('HGET', P..'batch:'..of, 'key') ~= key then call('SET', P..'key:'..key, b) end
end
if u and call('HGET', P..'upload:'..u, 'batch') ~= b then call('HDEL', B, 'upload') end
call('ZREM', P..'later:'..class(), b); turn()
return 1
