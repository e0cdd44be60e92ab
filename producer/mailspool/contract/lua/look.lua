-- look [b n k...]... : batches and these of their chunks at one moment, for verify. Changes nothing.
-- Answers {now, [fields, places, runs, facts]...}, or {now, ...false...} where a batch is not there. Names: inspection.py.
local function facts(k, limit)
  local rows, h = call('HGET', ROWS, k) or false, call('HGETALL', outcomes(k))
  local head, member = call('GETRANGE', P..'chunk:'..b..':'..k, 0, 2), b..':'..k
  local n = {s = 0, d = 0, f = 0, u = 0, x = 0, c = 0}
  local strange, outside, late = 0, 0, 0
  for i = 1, #h, 2 do
    local l, index = letter(h[i + 1]), tonumber(h[i])
    if not index or index >= (tonumber(rows) or 0) then outside = outside + 1 end
    if n[l] then n[l] = n[l] + 1 else strange = strange + 1 end
    if l == 'd' and when(h[i + 1]) > limit then late = late + 1 end
  end
  local payload = #head == 3 and head:byte(1) == 220 and head:byte(2) * 256 + head:byte(3) or (#head > 0 and -1)
  return {k, rows, payload, call('ZSCORE', DUE, k), call('HGET', RUN, k), call('ZSCORE', P..'flight:'..class(), member),
    call('ZSCORE', P..'apart:'..class(), member), call('SISMEMBER', P..'odd:'..b, k),
    n.s, n.d, n.f, n.u, n.x, n.c, strange, outside, late, call('HEXISTS', LOST, k)}
end
local function places()
  local c, key, u = class(), get('key') or '', get('upload')
  local function score(zset) return call('ZSCORE', P..zset, b) end
  local first = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
  return {score('batches'), score('ids'), score('deadline'), score('retire'), score('open:'..c), score('later:'..c),
    first[2] or false, call('ZCARD', DUE), call('SCARD', P..'odd:'..b), call('HLEN', LOST), call('HLEN', ROWS),
    call('EXISTS', P..'spec:'..b), key ~= '' and call('GET', P..'key:'..key) or '',
    u and (call('HGET', P..'upload:'..u, 'batch') or '') or b}
end
local answers, j = {now}, 2
while j <= #ARGV do
  at(ARGV[j])
  local n, found = tonumber(ARGV[j + 1]), {}
  if call('EXISTS', B) == 0 then answers[#answers + 1] = false
  else
    local limit = max(num('expires'), now)
    for q = j + 2, j + 1 + n do found[#found + 1] = facts(ARGV[q], limit) end
    answers[#answers + 1] = {call('HGETALL', B), places(), call('HGETALL', RUN), found}
  end
  j = j + 2 + n
end
return answers
