-- send1 b u key spec grace nblobs [sha bytes]... nrows [id row]... [field value]...
-- A single mail (or one chunk of copies): begin, load, commit and the ordinary feed in one round trip.
-- Answers {OK, ids to wake, now} | {KEY} (the producer goes by begin) | {EXPIRED} | {NAMED} (b is another batch's name).
local u, key, spec, grace = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
if call('HEXISTS', P..'uploads:'..b, u) == 1 then     -- the same call again
  local run = call('HGET', RUN, '0')
  return {'OK', run and run:sub(1, 4) == 'fed:' and {P..b..':0:'..run:sub(5)} or {}, now}
end
if key ~= '' and call('EXISTS', P..'key:'..key) == 1 then return {'KEY'} end
if call('EXISTS', B) == 1 then return {'NAMED'} end
local blobs, at_arg = {}, 8
for _ = 1, tonumber(ARGV[7]) do blobs[#blobs + 1] = {ARGV[at_arg], ARGV[at_arg + 1]}; at_arg = at_arg + 2 end
local n = tonumber(ARGV[at_arg]); at_arg = at_arg + 1
local ids, rows = {}, {}
for _ = 1, n do ids[#ids + 1] = ARGV[at_arg]; rows[#rows + 1] = ARGV[at_arg + 1]; at_arg = at_arg + 2 end
local fields, given = {}, {}
for j = at_arg, #ARGV, 2 do fields[#fields + 1] = ARGV[j]; fields[#fields + 1] = ARGV[j + 1]; given[ARGV[j]] = ARGV[j + 1] end
local from, lifetime, expires = max(now, tonumber(given.send_at)), tonumber(given.lifetime), tonumber(given.expires)
if lifetime > 0 then expires = from + lifetime else lifetime = expires - from end
if expires <= now then return {'EXPIRED'} end
call('HSET', B, 'key', key, 'next', 1, 'total', 0, 'gen', 0, 'created', now, unpack(fields))
call('HSET', B, 'state', 'live', 'expires', expires, 'lifetime', lifetime)
call('SET', P..'spec:'..b, spec)
for _, x in ipairs(blobs) do
  local blob = P..'blob:'..x[1]
  if call('EXISTS', blob) == 0 then call('SET', blob, x[2]) end
  call('SADD', blob..':refs', b); call('SADD', P..'blobs:'..b, x[1])
end
if key ~= '' then call('SET', P..'key:'..key, b); call('SADD', P..'ids:'..u, unpack(ids)) end
call('SET', P..'chunk:'..b..':0', array_head(n)..table.concat(rows)); call('HSET', ROWS, '0', n); call('ZADD', DUE, now, '0')
call('HSET', P..'uploads:'..b, u, n..',0'); call('ZADD', P..'batches', now, b); call('ZADD', P..'ids', 0, b)
wake(); bump('total', n)
if given.hold == '1' then call('HSET', B, 'state', 'held') end
turn()
return {'OK', feed(given.class, grace), now}
