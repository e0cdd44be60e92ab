-- record [b k token n [i outcome]...]... : all outcomes that wait in a process, of any number of chunks, in one call.
-- `sent` is a fact: stored over anything but sent, whoever brings it. Others need the run and nothing final before them.
-- A claim goes only over nothing or deferred, while the batch may send. An empty outcome takes back an own claim.
-- Answers per chunk {OK | LOST | GONE, the batch's state, index that was refused...}, or {BROKEN, what is wrong} where
-- somebody else has written into its records: all that the process has sent otherwise must not wait for that.
local answers, j = {}, 2
local batch, s, verdict, expires, counts, broken
local function tried(step, ...)                       -- a failed step has changed nothing but what is told in the log
  local done, why = pcall(step, ...)
  if done then return end
  why = tostring(type(why) == 'table' and why.err or why)
  redis.log(redis.LOG_WARNING, batch..' in record: '..why)
  return {'BROKEN', why}
end
local function settle_accounts() if batch then tried(put, counts) end end     -- outcomes stand; verify counts them anew
local function take_up()
  at(batch)
  s = state(); verdict = closed_as(); expires = num('expires')
end
local function store(answer, k, token, n)
  if not s or s == 'purging' then answer[1] = 'GONE'; answer[2] = 'gone'; return end
  local own = call('HGET', RUN, k) == 'run:'..token
  answer[1] = own and 'OK' or 'LOST'; answer[2] = s
  local index, last, odd = {}, {}, false
  for q = 1, n do index[q] = ARGV[j + 2 * q - 2] end
  local olds = n > 0 and call('HMGET', outcomes(k), unpack(index)) or {}
  for q = 1, n do
    local i, new = index[q], ARGV[j + 2 * q - 1]
    local old = last[i]; if old == nil then old = olds[q] end     -- the same message may come twice in one call
    if old == '' then old = false end
    local was, is = letter(old), letter(new)
    if is == 'd' and when(new) > expires then new = deferred_until(expires, new:sub(15)) end
    local ok
    if is == '' then
      ok = own and was == 'c'
      if ok then last[i] = new; count(counts, was, nil, verdict) end
      ok = ok or not old
    else
      if is == 's' then ok = was ~= 's'
      elseif is == 'c' then ok = own and not FINAL[was] and was ~= 'c' and s == 'live'
      else ok = own and not FINAL[was] end
      if ok then
        last[i] = new
        count(counts, was, is, verdict)
        if is ~= 's' and is ~= 'c' then odd = true end
      end
      ok = ok or old == new
    end
    if not ok then answer[#answer + 1] = tonumber(i) end
  end
  local write, erase = {}, {}
  for i, new in pairs(last) do
    if new == '' then erase[#erase + 1] = i else write[#write + 1] = i; write[#write + 1] = new end
  end
  if #write > 0 then call('HSET', outcomes(k), unpack(write)) end
  if #erase > 0 then call('HDEL', outcomes(k), unpack(erase)) end
  if odd then call('SADD', P..'odd:'..b, k) end
  if not own and #write > 0 and class() == 'transactional' then call('SADD', P..'erase', b) end
end
while j <= #ARGV do
  local name, k, token, n = ARGV[j], ARGV[j + 1], ARGV[j + 2], tonumber(ARGV[j + 3])
  if name ~= batch then
    settle_accounts()
    batch = name; counts = {}
    broken = tried(take_up)
  end
  j = j + 4
  local answer = {}
  answers[#answers + 1] = broken or tried(store, answer, k, token, n) or answer
  j = j + 2 * n
end
settle_accounts()
return answers
