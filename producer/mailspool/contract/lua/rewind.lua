-- rewind b start : Redis' clock was set back, and what was written before lies in a time that is still to come: here it
-- is as far from now as it was from then. What was never tried may go at once. 100 chunks a call, those due last first;
-- a chunk that is right stays as it is. Answers the next start, or -1.
local start, step = tonumber(ARGV[3]), 100
local s = get('state')
if s ~= 'live' and s ~= 'held' then return -1 end
local latest = now + @later_limit_ms@
for _, field in ipairs{'wait_until', 'rate_until', 'closed_until'} do
  if num(field) > latest then call('HSET', B, field, string.format('%.0f', latest)) end
end
if num('started') > now then call('HSET', B, 'started', string.format('%.0f', now)) end
local function rewound(outcome)                       -- nil: it was written in a time that was
  local known, note = pcall(cmsgpack.unpack, outcome:sub(19))
  if not known or type(note) ~= 'table' or #note ~= 7 then return end
  local first, last = tonumber(note[4]) or 0, tonumber(note[5]) or 0
  if last <= now and first <= now then return end
  note[4], note[5] = math.min(first, now), math.min(last, now)
  local next_try = when(outcome)
  if letter(outcome) == 'd' then next_try = max(now, next_try - max(0, last - now)) end
  return outcome:sub(1, 1)..string.format('%013.0f', next_try)..outcome:sub(15, 18)..cmsgpack.pack(note)
end
local stayed = 0                                      -- what moved went down in this order, or out of it
local ks = call('ZRANGE', DUE, '+inf', '('..now, 'BYSCORE', 'REV', 'LIMIT', start, step, 'WITHSCORES')
for j = 1, #ks, 2 do
  local k, due, changed = ks[j], ks[j + 1], tonumber(ks[j + 1]) > latest
  local h = call('HGETALL', outcomes(k))
  for i = 1, #h, 2 do
    local new = letter(h[i + 1]) == 'd' and rewound(h[i + 1])
    if new then call('HSET', outcomes(k), h[i], new); changed = true end
  end
  if changed then rest(k) end
  if call('ZSCORE', DUE, k) == due then stayed = stayed + 1 end
end
turn()
if #ks < 2 * step then return -1 end
return start + stayed
