-- load b u [k with_ids [id row]...] : one chunk of an upload, idempotent by k; without rows a sign of life.
-- With identities, rows that a committed upload of this batch has are left out and counted as known.
-- Answers {OK, added, known} | {TAKEN} | {CLOSED, verdict}.
local u, k, with_ids = ARGV[3], ARGV[4], ARGV[5]
if get('upload') ~= u then return {'TAKEN'} end
local verdict = over()
if verdict then return {'CLOSED', verdict} end
call('ZADD', P..'loading', now, u)
if not k then return {'OK', 0, 0} end
local U, ids, rows, known = P..'upload:'..u, {}, {}, 0
if with_ids == '1' then
  local all, seen = {}, {}
  for j = 6, #ARGV, 2 do all[#all + 1] = ARGV[j] end
  local others = call('HGETALL', P..'uploads:'..b)
  for i = 1, #others, 2 do
    if others[i + 1]:sub(1, 2) ~= '0,' then           -- a script that is run every minute adds nothing most of the time
      local have = call('SMISMEMBER', P..'ids:'..others[i], unpack(all))
      for j = 1, #all do if have[j] == 1 then seen[j] = true end end
    end
  end
  for j = 1, #all do
    if seen[j] then known = known + 1 else ids[#ids + 1] = all[j]; rows[#rows + 1] = ARGV[5 + 2 * j] end
  end
else
  for j = 6, #ARGV do rows[#rows + 1] = ARGV[j] end
end
if call('HSETNX', U, 'k'..k, #rows) == 1 then
  call('HINCRBY', U, 'rows', #rows)
  if known > 0 then call('HINCRBY', U, 'known', known) end
  if num('next') <= tonumber(k) then call('HSET', B, 'next', k + 1) end
  if #rows > 0 then
    if #ids > 0 then call('SADD', P..'ids:'..u, unpack(ids)) end
    call('SET', P..'chunk:'..b..':'..k, array_head(#rows)..table.concat(rows))
    call('ZADD', P..'up:due:'..u, now, k); call('HSET', P..'up:rows:'..u, k, #rows)
  end
end
return {'OK', #rows, known}
