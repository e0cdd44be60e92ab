-- recount b : the counters of one batch anew, from its rows and outcomes, in one step whatever its size.
-- The class totals stay: what they differ by is told by tally. Answers {field, what stood there, what stands there now}...
local s, total, fold, changed = get('state'), 0, {}, {}
if not s or s == 'loading' or s == 'purging' then return changed end
local rows = call('HGETALL', ROWS)
for i = 1, #rows, 2 do
  total = total + (tonumber(rows[i + 1]) or 0)
  for _, outcome in ipairs(call('HVALS', outcomes(rows[i]))) do
    local field = COUNTER[letter(outcome)]
    if field then fold[field] = (fold[field] or 0) + 1 end
  end
end
if s == 'closed' then                                 -- all that is not final counts under its verdict
  local open = total
  for _, field in ipairs{'n_sent', 'n_failed', 'n_uncertain', 'n_suppressed'} do open = open - (fold[field] or 0) end
  fold.n_deferred = nil; fold.n_claimed = nil; fold['n_'..get('verdict')] = open
end
fold.total = total
local names = {'total', 'n_expired', 'n_cancelled'}
for _, field in pairs(COUNTER) do names[#names + 1] = field end
for _, field in ipairs(names) do
  local old, new = get(field), fold[field] or 0
  if (tonumber(old or 0) or false) ~= new then
    call('HSET', B, field, new); changed[#changed + 1] = {field, old or '', new}
  end
end
return changed
