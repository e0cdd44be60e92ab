-- collect u : an upload that was silent for an hour or lost its reservation; 100 chunks a call.
-- First takes the reservation away, so that nothing can be loaded behind the broom. Answers OK | MORE | ALIVE.
local u = ARGV[2]
local U, rows = P..'upload:'..u, P..'up:rows:'..u
local batch = call('HGET', U, 'batch')
if not batch then call('ZREM', P..'loading', u); return 'OK' end
at(batch)
local mine = get('upload') == u
if mine and tonumber(call('ZSCORE', P..'loading', u) or 0) > now - @upload_abandoned_ms@ then return 'ALIVE' end
if mine then call('HDEL', B, 'upload') end
if mine then erase_content() end
local ks = call('HRANDFIELD', rows, 100)
for _, k in ipairs(ks) do call('UNLINK', P..'chunk:'..b..':'..k); call('HDEL', rows, k) end
if #ks == 100 then return 'MORE' end
call('UNLINK', rows, U, P..'up:due:'..u, P..'ids:'..u); call('ZREM', P..'loading', u)
if get('state') == 'loading' then                     -- never committed: the batch goes too, its key only if it is still its
  local key = get('key')
  if key and key ~= '' and call('GET', P..'key:'..key) == b then call('DEL', P..'key:'..key) end
  release_blobs()
  call('DEL', B, P..'spec:'..b)
end
return 'OK'
