-- reopen b k letters [i]... : deferred (d), failed (f), uncertain (u) ones are due now; of all the chunk, or of these i.
-- A deferred one keeps its attempts, the others start from 0. Answers how many moved, -1 if the batch cannot.
local k, which = ARGV[3], ARGV[4]
local s = get('state')
if s ~= 'live' and s ~= 'held' and s ~= 'done' or over() then return -1 end
local only
for j = 5, #ARGV do only = only or {}; only[ARGV[j]] = true end
local h, moved = call('HGETALL', outcomes(k)), 0
for i = 1, #h, 2 do
  local was = letter(h[i + 1])
  if (was == 'd' or was == 'f' or was == 'u') and which:find(was, 1, true) and (not only or only[h[i]]) then
    local tail = was == 'd' and h[i + 1]:sub(15) or '0000'..h[i + 1]:sub(19)
    call('HSET', outcomes(k), h[i], deferred_until(now, tail)); recount(was, 'd'); call('SADD', P..'odd:'..b, k)
    moved = moved + 1
  end
end
if moved == 0 then return 0 end
if s == 'done' then
  if now >= num('expires') then call('HSET', B, 'expires', now + num('lifetime')) end
  wake()
end
if not call('HGET', RUN, k) then rest(k) end          -- a fed or running chunk keeps its place
return moved
