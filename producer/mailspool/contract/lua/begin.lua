-- begin b u key spec [field value]... : reserve the right to load and commit.
-- Answers {LOAD, batch, first chunk number} | {WAIT} | {TAKEN} | {CONFLICT, batch} | {CLOSED, verdict, batch} | {NAMED}: b
-- is the name of another batch, which would be lost; the producer thinks of a new one.
local u, key, spec = ARGV[3], ARGV[4], ARGV[5]
local U = P..'upload:'..u
local fields, given = {}, {}
for j = 6, #ARGV, 2 do fields[#fields + 1] = ARGV[j]; fields[#fields + 1] = ARGV[j + 1]; given[ARGV[j]] = ARGV[j + 1] end
if call('EXISTS', U) == 1 then                        -- the same call again
  at(call('HGET', U, 'batch'))
  if get('upload') ~= u then return {'TAKEN'} end
  call('ZADD', P..'loading', now, u)
  return {'LOAD', b, tonumber(call('HGET', U, 'base'))}
end
if call('HEXISTS', P..'uploads:'..b, u) == 1 then return {'TAKEN'} end
if call('EXISTS', B) == 1 then return {'NAMED'} end
local function reserve(base)
  call('HSET', U, 'batch', b, 'base', base, 'rows', 0, 'known', 0); call('ZADD', P..'loading', now, u)
  return {'LOAD', b, base}
end
local mine = b
local current = key ~= '' and call('GET', P..'key:'..key)
if current then
  at(current)
  if call('HEXISTS', P..'uploads:'..b, u) == 1 then return {'TAKEN'} end     -- it is committed; no second life
  local holder = get('upload')
  local alive = holder and tonumber(call('ZSCORE', P..'loading', holder) or 0) > now - @upload_silent_ms@
  if get('state') == 'loading' then                   -- never committed: nobody is bound by it, not even by its digest
    if alive then return {'WAIT'} end
    call('HDEL', B, 'upload')
  else
    local verdict = over()
    if verdict then return {'CLOSED', verdict, b} end
    if get('digest') ~= given.digest then return {'CONFLICT', b} end
    if alive then return {'WAIT'} end
    call('HSET', B, 'upload', u)
    if get('bare') then call('HSET', U, 'spec', spec) end     -- erased; commit brings it back for the rows that are added
    return reserve(num('next'))
  end
  at(mine)
end
call('HSET', B, 'state', 'loading', 'upload', u, 'key', key, 'next', 0, 'total', 0, 'gen', 0, unpack(fields))
call('SET', P..'spec:'..b, spec)
if key ~= '' then call('SET', P..'key:'..key, b) end
return reserve(0)
