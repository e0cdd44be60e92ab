-- purge b : a batch past its retention; the first step frees its key and its totals, then 100 chunks a call, itself last.
-- Answers OK | MORE | BUSY | GONE.
local s = get('state')
if not s then call('ZREM', P..'retire', b); return 'GONE' end
if s ~= 'purging' then
  if s ~= 'done' and s ~= 'closed' or get('upload') then return 'BUSY' end
  local retire = call('ZSCORE', P..'retire', b)
  if not retire or tonumber(retire) > now then return 'BUSY' end
  local key = get('key')
  if key and key ~= '' and call('GET', P..'key:'..key) == b then call('DEL', P..'key:'..key) end
  local h = call('HGETALL', B)
  for i = 1, #h, 2 do
    if h[i]:sub(1, 2) == 'n_' or h[i] == 'total' then call('HINCRBY', P..'totals:'..class(), h[i], -h[i + 1]) end
  end
  call('HSET', B, 'state', 'purging'); call('ZREM', P..'batches', b); call('ZREM', P..'ids', b); call('ZREM', P..'deadline', b); call('SREM', P..'erase', b)
end
local ks = call('HRANDFIELD', ROWS, 100)
for _, k in ipairs(ks) do call('UNLINK', P..'chunk:'..b..':'..k, outcomes(k)); call('HDEL', ROWS, k) end
if #ks == 100 then return 'MORE' end
for _, u in ipairs(call('HKEYS', P..'uploads:'..b)) do call('UNLINK', P..'ids:'..u) end
release_blobs()
call('UNLINK', P..'uploads:'..b, P..'empty:'..b, P..'odd:'..b, P..'spec:'..b, P..'talk:'..b, ROWS, DUE, RUN, LOST); call('ZREM', P..'retire', b); call('DEL', B)
return 'OK'
