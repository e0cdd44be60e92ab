-- commit b u total [sha]... : make the upload part of the batch; from here on it is acknowledged.
-- Answers {OK, added, known} (the same for ever; of an upload that added nothing, for an hour) | {TAKEN} | {CLOSED, verdict} | {EXPIRED} | {INCOMPLETE} | {BLOB, sha}.
local u = ARGV[3]
local function answer(stored) local added, known = stored:match('^(%d+),(%d+)$'); return {'OK', tonumber(added), tonumber(known)} end
local before = call('HGET', P..'uploads:'..b, u)
if before then return answer(before) end
if get('upload') ~= u then return {'TAKEN'} end
local verdict = over()
if verdict then return {'CLOSED', verdict} end
local U, due, rows = P..'upload:'..u, P..'up:due:'..u, P..'up:rows:'..u
local c = call('HMGET', U, 'rows', 'known')
local added = tonumber(c[1])
if added + c[2] ~= tonumber(ARGV[4]) then return {'INCOMPLETE'} end
for j = 5, #ARGV do if call('EXISTS', P..'blob:'..ARGV[j]) == 0 then return {'BLOB', ARGV[j]} end end
local s = get('state')
if s == 'loading' then
  local from, lifetime, expires = max(now, num('send_at')), num('lifetime'), num('expires')
  if lifetime > 0 then expires = from + lifetime else lifetime = expires - from end
  if expires <= now then return {'EXPIRED'} end
  call('HSET', B, 'created', now, 'expires', expires, 'lifetime', lifetime)
  call('ZADD', P..'batches', now, b); call('ZADD', P..'ids', 0, b)
  if added > 0 then
    call('RENAME', due, DUE); call('RENAME', rows, ROWS); wake()
    if get('hold') == '1' then call('HSET', B, 'state', 'held') end
  else asleep('done') end
elseif added > 0 then
  call('ZUNIONSTORE', DUE, 2, DUE, due, 'AGGREGATE', 'MIN'); in_slices('HSET', ROWS, call('HGETALL', rows))
  call('UNLINK', due, rows)
  if s == 'done' then call('HSET', B, 'expires', now + num('lifetime')); wake() end
end
bump('total', added)
local spec = added > 0 and call('HGET', U, 'spec')
if spec then call('SET', P..'spec:'..b, spec); call('HDEL', B, 'bare') end
local stored = added..','..c[2]
if added == 0 then                                    -- of a script that is run every minute: a field a minute, for ever
  local empty = P..'empty:'..b
  for _, old in ipairs(call('ZRANGEBYSCORE', empty, '-inf', now - @upload_abandoned_ms@, 'LIMIT', 0, 10)) do
    call('HDEL', P..'uploads:'..b, old); call('ZREM', empty, old)
  end
  call('ZADD', empty, now, u)
end
call('HSET', P..'uploads:'..b, u, stored); call('HDEL', B, 'upload'); call('UNLINK', U); call('ZREM', P..'loading', u)
turn()
erase_content()
return answer(stored)
