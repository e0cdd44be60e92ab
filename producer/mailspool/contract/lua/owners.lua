-- owners mode name... : which of these keys belong to nobody? mode tell | delete | ids (delete, the caller knows that no
-- batch has this upload). Answers {name, why}...: orphan, stranger (of no known kind: stays), empty (an attachment without
-- its content: stays), broken (something else was written there: stays), ask (ids of an upload that is over).
local mode = ARGV[2]
local OF_BATCH = {spec = 1, due = 1, run = 1, rows = 1, lost = 1, odd = 1, uploads = 1, empty = 1, blobs = 1, talk = 1}
local OF_CLASS = {flight = 1, apart = 1, aside = 1, open = 1, later = 1, totals = 1}
local NAMED = {worker = 1, route = 1, q = 1}
local SINGLE = {deadline = 1, retire = 1, batches = 1, ids = 1, loading = 1, workers = 1, paused = 1, turn = 1,
  suppressed = 1, suspects = 1, events = 1, erase = 1, chores = 1}
local TYPE = {batch = 'hash', spec = 'string', due = 'zset', run = 'hash', rows = 'hash', lost = 'hash', odd = 'set',
  uploads = 'hash', empty = 'zset', blobs = 'set', talk = 'hash', flight = 'zset', apart = 'zset', aside = 'zset', open = 'zset',
  later = 'zset', totals = 'hash', worker = 'hash', route = 'hash', q = 'zset', deadline = 'zset', retire = 'zset',
  batches = 'zset', ids = 'zset', loading = 'zset', workers = 'zset', paused = 'hash', turn = 'string',
  suppressed = 'hash', suspects = 'hash', erase = 'set', chores = 'hash', chunk = 'string', out = 'hash',
  upload = 'hash', key = 'string'}
local function there(batch) return call('EXISTS', P..'batch:'..batch) == 1 end
local under_way
local function uploads_of(batch)
  if not under_way then
    under_way = {}
    for _, u in ipairs(call('ZRANGE', P..'loading', 0, -1)) do
      local of = call('HGET', P..'upload:'..u, 'batch')
      if of then under_way[of] = under_way[of] or {}; table.insert(under_way[of], u) end
    end
  end
  return under_way[batch] or {}
end
local function loaded(batch, k)
  for _, u in ipairs(uploads_of(batch)) do if call('HEXISTS', P..'up:rows:'..u, k) == 1 then return true end end
end
local function used(sha, users)
  for _, batch in ipairs(users) do
    if there(batch) and call('SISMEMBER', P..'blobs:'..batch, sha) == 1 then return true end
  end
end
local function of_blob(rest)
  local sha = rest:gsub(':refs$', '')
  local refs = P..'blob:'..sha..':refs'
  if not used(sha, call('SRANDMEMBER', refs, 10)) and not used(sha, call('SMEMBERS', refs)) then return 'orphan' end
  if call('EXISTS', P..'blob:'..sha) == 0 then return 'empty' end
end
local function of_arq(name)                           -- other users' jobs, cron, and keys that fade are none of ours
  local kind, id = name:match('^arq:(%a+):(.+)$')
  if kind ~= 'job' and kind ~= 'retry' or id:sub(1, #P) ~= P then return end
  local batch, k, gen = id:sub(#P + 1):match('^([^:]+):(%d+):(%d+)$')
  if not batch then return end
  local run = call('HGET', P..'run:'..batch, k)
  if run and run:match('^%a+:(%d+)') == gen or call('EXISTS', 'arq:in-progress:'..id) == 1 then return end
  for _, c in ipairs{'transactional', 'bulk'} do
    for version = 1, 9 do if call('ZSCORE', P..'q:'..c..':v'..version, id) then return end end   -- a no-op that waits
  end
  return 'orphan'
end
local function why(name)
  if name:sub(1, #P) ~= P then return of_arq(name) end
  local kind, rest = name:sub(#P + 1):match('^([^:]+):?(.*)$')
  local of, k = rest:match('^([^:]+):(.+)$')
  local owned
  if kind == 'q' and rest:sub(-13) == ':health-check' then return end      -- arq's own word beside its queue
  local is, expected = call('TYPE', name).ok, kind == 'ids' and rest ~= '' and 'set' or TYPE[kind]
  if expected and is ~= expected and is ~= 'none' then return 'broken' end
  if kind == 'batch' then
    local s = call('HGET', P..'batch:'..rest, 'state')
    if not s then return 'broken' end
    owned = s ~= 'loading' or #uploads_of(rest) > 0
  elseif OF_BATCH[kind] then owned = there(rest)
  elseif kind == 'chunk' and of then owned = call('HEXISTS', P..'rows:'..of, k) == 1 or loaded(of, k)
  elseif kind == 'out' and of then owned = call('HEXISTS', P..'rows:'..of, k) == 1
  elseif kind == 'upload' then owned = call('ZSCORE', P..'loading', rest)
  elseif kind == 'up' and (of == 'due' or of == 'rows') then owned = call('EXISTS', P..'upload:'..k) == 1
  elseif kind == 'ids' and rest ~= '' then
    if call('EXISTS', P..'upload:'..rest) == 1 then return end
    return mode == 'ids' and 'orphan' or 'ask'
  elseif kind == 'key' then
    local batch = call('GET', name)
    owned = not batch or call('HGET', P..'batch:'..batch, 'key') == rest
  elseif kind == 'blob' then return of_blob(rest)
  elseif OF_CLASS[kind] then if rest == 'transactional' or rest == 'bulk' then return end return 'stranger'
  elseif NAMED[kind] and rest ~= '' or SINGLE[kind] and rest == '' then return
  else return 'stranger' end
  if not owned then return 'orphan' end
end
local answers = {}
for j = 3, #ARGV do
  local name = ARGV[j]
  local done, found = pcall(why, name)
  if not done then found = 'broken' end
  if found and call('EXISTS', name) == 1 then
    if found == 'orphan' and mode ~= 'tell' then call('UNLINK', name) end
    answers[#answers + 1] = {name, found}
  end
end
return answers
