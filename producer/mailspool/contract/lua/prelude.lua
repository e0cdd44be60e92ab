-- What every move stands on: the clock, the keys of one batch, the accounts, the turns, the coming to rest.
-- ARGV[1] = now in ms (0 = Redis' own clock; only tests pass another), ARGV[2] = the batch, or the class, or the upload.
-- A failed guard answers a name and changes nothing. A move sent twice changes nothing the second time.
-- The words in @...@ are filled in by scripts.py from states.py and the key prefix.
local call = redis.call
local P = '@prefix@'
local now = tonumber(ARGV[1])
if now == 0 then local t = call('TIME'); now = t[1] * 1000 + math.floor(t[2] / 1000) end

local b, B, DUE, RUN, ROWS, LOST                      -- the batch at hand and its keys
local function at(batch)
  b = batch; B = P..'batch:'..b; DUE = P..'due:'..b; RUN = P..'run:'..b; ROWS = P..'rows:'..b; LOST = P..'lost:'..b
end
at(ARGV[2])

local function get(field) return call('HGET', B, field) or nil end
local function num(field) return tonumber(get(field) or 0) or 0 end
local function max(x, y) if x > y then return x end return y end
local function class() return get('class') end
local function outcomes(k) return P..'out:'..b..':'..k end

-- Accounts. An outcome is a string: state letter, 13 digits (next try, or when), 3 digits attempts, 1 digit doubts, rest.
local COUNTER = {s = 'n_sent', d = 'n_deferred', f = 'n_failed', u = 'n_uncertain', x = 'n_suppressed', c = 'n_claimed'}
local FINAL = {s = true, f = true, u = true, x = true}
local function letter(outcome) return outcome and outcome:sub(1, 1) or nil end
local function when(outcome) return tonumber(outcome:sub(2, 14)) or 0 end     -- 0: no time of ours stands there
local function deferred_until(at_ms, rest) return string.format('d%013.0f', at_ms)..rest end

local function bump(field, by)                        -- the only place that changes a counter: batch and class together
  if by == 0 then return end
  call('HINCRBY', B, field, by)
  local totals = P..'totals:'..class()
  local done = redis.pcall('HINCRBY', totals, field, by)
  if type(done) ~= 'table' then return end
  -- Somebody else has written there. The mail need not wait for it: verify finds what the totals differ by.
  if done.err:find('integer', 1, true) or done.err:find('overflow', 1, true) then call('HSET', totals, field, by)
  elseif not done.err:find('WRONGTYPE', 1, true) then error(done.err, 0) end
end
-- What one outcome does to the accounts. A closed batch counts all that is not final under its verdict.
local function count(into, old, new, verdict)
  if old == new then return end
  local function add(field, by) if field then into[field] = (into[field] or 0) + by end end   -- a letter of ours?
  if verdict and not FINAL[old] then
    if FINAL[new] then add('n_'..verdict, -1) end
  elseif old then add(COUNTER[old], -1) end
  if new and (not verdict or FINAL[new]) then add(COUNTER[new], 1) end
end
local function put(counts) for field, by in pairs(counts) do bump(field, by) end end
local function recount(old, new, verdict) local t = {}; count(t, old, new, verdict); put(t) end

-- What a batch allows.
local function closed_as() if get('state') == 'closed' then return get('verdict') end end
local function over()                                 -- no new work may join: cancelled, expired, or past its deadline
  local s = get('state')
  if s == 'closing' or s == 'closed' then return get('verdict') end
  if (s == 'live' or s == 'held') and now >= num('expires') then return 'expired' end
end
local function paused_class(c)
  return call('HEXISTS', P..'paused', 'spool') == 1 or call('HEXISTS', P..'paused', c) == 1
end
local function state()                                -- as a worker should take it
  local s = get('state')
  if s == 'live' and paused_class(class()) then return 'held' end
  if s == 'live' and now >= num('expires') then return 'expired' end
  return s
end

-- Turns are derived, never passed. A live batch with waiting chunks stands in `open` (a number from a counter, no time)
-- when one of them may go now, else in `later` (a time). Every change of due, state, send_at or wait_until ends here.
local function turn(go_last)
  local c = class()
  local open, later = P..'open:'..c, P..'later:'..c
  local first = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
  if get('state') ~= 'live' or not first[2] then call('ZREM', open, b); call('ZREM', later, b); return end
  local t = max(tonumber(first[2]), max(num('send_at'), num('wait_until')))
  if t <= now then
    call('ZREM', later, b)
    if go_last or not call('ZSCORE', open, b) then call('ZADD', open, call('INCR', P..'turn'), b) end
  else
    call('ZREM', open, b); call('ZADD', later, t, b)
  end
end

-- Attachments. References are sets of batches; a blob goes with its last one, in the same script.
local function release_blobs()
  for _, sha in ipairs(call('SMEMBERS', P..'blobs:'..b)) do
    local blob = P..'blob:'..sha
    call('SREM', blob..':refs', b)
    if call('SCARD', blob..':refs') == 0 then call('UNLINK', blob) end
  end
  call('DEL', P..'blobs:'..b)
end

-- @erasure@ erasure.lua, in the scripts after which a batch or a chunk may come to rest
local function asleep(s)                              -- done or closed: nothing to send, nothing running
  local bad = num('n_failed') + num('n_uncertain') + num('n_expired') > 0
  call('HSET', B, 'state', s, 'finished', now); call('HDEL', B, 'wait_until', 'wait_why', 'rate_until', 'closed_until', 'closed_why',
    'held_why')
  call('DEL', DUE, RUN, LOST)
  call('ZREM', P..'deadline', b); call('ZADD', P..'retire', now + (bad and num('keep_bad') or num('keep')), b)
  turn(); erase_content()
  if s == 'closed' and num('n_sent') > 0 and class() == 'transactional' then call('SADD', P..'erase', b) end
end
local function wake()
  call('HSET', B, 'state', 'live'); call('HDEL', B, 'finished')
  call('ZREM', P..'retire', b); call('ZADD', P..'deadline', num('expires'), b)
end
local function finish()                               -- closing -> closed; the open ones are counted, not visited
  local c = call('HMGET', B, 'total', 'n_sent', 'n_failed', 'n_uncertain', 'n_suppressed')
  local rest = tonumber(c[1]); for i = 2, 5 do rest = rest - (c[i] or 0) end
  bump('n_deferred', -num('n_deferred')); bump('n_claimed', -num('n_claimed')); bump('n_'..get('verdict'), rest)
  asleep('closed')
end

-- Runs.
-- A claim whose runner is gone comes to rest. 'f': its message may be what killed the worker; the first times it may as
-- well have been near by chance, and goes again.
local function unclaim(k, as)
  local h = call('HGETALL', outcomes(k))
  for i = 1, #h, 2 do
    local claim = h[i + 1]
    if letter(claim) == 'c' then
      local is, new = as, as..claim:sub(2)
      if as == 'f' and (tonumber(claim:sub(18, 18)) or 0) < @poison_claims@ then is, new = 'd', deferred_until(now, claim:sub(15)) end
      call('HSET', outcomes(k), h[i], new); recount('c', is); call('SADD', P..'odd:'..b, k)
    end
  end
end
local function drop(k)
  call('HDEL', RUN, k)
  local member = b..':'..k
  call('ZREM', P..'flight:'..class(), member); call('ZREM', P..'apart:'..class(), member)
end
-- Before a run is taken away: whatever cannot be read is found here, while nothing has changed.
local function readable(k)
  call('HLEN', outcomes(k)); call('ZCARD', DUE); call('HGET', ROWS, k); call('HGET', LOST, k); call('SCARD', P..'odd:'..b)
end
-- A chunk without a run is waiting or finished: decided from what is written, not from what a worker remembers.
-- Next tries are gathered: due is the latest one within min(60 s, a tenth of the time to the earliest), never before
-- any message's own time.
local function rest(k, not_before)
  if get('state') == 'closing' then if call('HLEN', RUN) == 0 then finish() end return end
  not_before = max(not_before or 0, now)
  local rows = tonumber(call('HGET', ROWS, k) or 0) or 0
  local have, final, first, tries = 0, 0, nil, {}
  for _, outcome in ipairs(call('HVALS', outcomes(k))) do
    have = have + 1
    local s = letter(outcome)
    if FINAL[s] then final = final + 1
    elseif s == 'd' then
      local t = when(outcome); tries[#tries + 1] = t
      if not first or t < first then first = t end
    end
  end
  if final < rows then
    local due = not_before
    if have == rows then
      due = first
      local edge = first + math.min(60000, max(0, math.floor((first - now) / 10)))
      for _, t in ipairs(tries) do if t <= edge and t > due then due = t end end
      if not_before > now then due = max(due, not_before) end
    end
    call('ZADD', DUE, math.min(due, max(num('expires'), now)), k)
  else
    call('ZREM', DUE, k); call('HDEL', LOST, k)
    if class() == 'transactional' then erase_rows(k) end
  end
  if call('ZCARD', DUE) == 0 and call('HLEN', RUN) == 0 then asleep('done') else turn() end
end

-- Feeding. One window a class: twice the job slots of the live workers, at least 4.
local crew
local function workers()
  if crew then return crew end
  crew = {slots = 0}
  for _, w in ipairs(call('ZRANGEBYSCORE', P..'workers', now - @worker_alive_ms@ + 1, '+inf')) do
    local h = redis.pcall('HMGET', P..'worker:'..w, 'relays', 'versions', 'slots:transactional', 'slots:bulk')
    if h[1] and h[2] then crew[#crew + 1] = h end
  end
  return crew
end
local function slots(c)
  local n = 0
  for _, w in ipairs(workers()) do n = n + (tonumber(c == 'bulk' and w[4] or w[3]) or 0) end
  return n
end
local function lists(names, name) return (','..names..','):find(','..name..',', 1, true) end
local function served()                               -- is there a live worker that reads this record and has its relay?
  local version, relay, c = get('v'), get('relay'), class()
  for _, w in ipairs(workers()) do
    if lists(w[2], version) and (not relay or relay == '' or lists(w[1], relay))
      and (tonumber(c == 'bulk' and w[4] or w[3]) or 0) > 0 then return true end
  end
  return false
end
local function feed_one(k, grace)
  local gen = call('HINCRBY', B, 'gen', 1)
  call('HSET', RUN, k, 'fed:'..gen); call('ZREM', DUE, k); call('ZADD', P..'flight:'..class(), now + grace, b..':'..k)
  return P..b..':'..k..':'..gen
end
-- A batch whose records are broken (a key is lost, or somebody else has written there) must not stop the others: it steps
-- back for a minute in this zset; the server's log names it, and `aside` (name, why...) tells the worker that asked.
local aside = {}
local function words(why) return tostring(type(why) == 'table' and why.err or why) end
local function guarded(zset, member, step)
  local done, why = pcall(step, member)
  if done then return true end
  redis.log(redis.LOG_WARNING, member..' in '..zset..': '..words(why))
  aside[#aside + 1] = member; aside[#aside + 1] = words(why)
  call('ZADD', zset, now + 60000, member)
  return false
end
-- Its chunks wait in a set of their own, where they take nobody's place in the window and keep no drain; the sweep looks
-- at them again, and `verify --repair` after whoever has repaired the record.
local function chunk_aside(c, k)
  local member = b..':'..k
  if call('ZREM', P..'flight:'..c, member) + call('ZREM', P..'apart:'..c, member) > 0 then
    call('ZADD', P..'aside:'..c, now + 60000, member)
  end
end
local function of_class(batch, c)
  at(batch)
  if class() ~= c then error('no batch of this class', 0) end
  if not get('state') then error('its record has no state', 0) end
end
local function feed(c, grace)
  local ids = {}
  if paused_class(c) then return ids end
  local open, later = P..'open:'..c, P..'later:'..c
  local function look(batch) of_class(batch, c); turn() end
  for _, batch in ipairs(call('ZRANGEBYSCORE', later, '-inf', now, 'LIMIT', 0, 200)) do guarded(later, batch, look) end
  local room = max(4, 2 * slots(c)) - call('ZCARD', P..'flight:'..c)
  local skipped = 0
  local function serve(batch)
    of_class(batch, c)
    if not lists('@versions_served@', get('v')) then
      skipped = skipped + 1                            -- of a later release, whose workers have a queue of their own
    elseif not served() then
      call('ZREM', open, b); call('ZADD', later, now + 1000, b)
    else
      local k = call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, 1)[1]
      if k and call('HEXISTS', ROWS, k) == 0 then call('ZREM', DUE, k)        -- no chunk of this batch
      elseif k then ids[#ids + 1] = feed_one(k, grace); room = room - 1 end
      turn(true)
    end
  end
  for _ = 1, 1000 do
    if room <= 0 then break end
    local batch = call('ZRANGE', open, skipped, skipped)[1]
    if not batch then break end
    if not guarded(later, batch, serve) then call('ZREM', open, batch) end
  end
  return ids
end

-- unpack() of a long list would exceed Lua's stack.
local function in_slices(command, key, list)
  for i = 1, #list, 4000 do call(command, key, unpack(list, i, math.min(i + 3999, #list))) end
end
local function array_head(n) return string.char(220, math.floor(n / 256), n % 256) end   -- msgpack array 16
