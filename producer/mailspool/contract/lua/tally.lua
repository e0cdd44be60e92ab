-- tally class since b... : the class totals, and the sum over all batches that may move: those named, those made since,
-- those alive, those that close. At one moment. Answers {totals, sums}, or {} where too many are alive to be counted in one step.
local c, since = ARGV[2], ARGV[3]
local FIELDS = {'class', 'state', 'total', 'n_sent', 'n_deferred', 'n_failed', 'n_expired', 'n_cancelled',
  'n_suppressed', 'n_uncertain', 'n_claimed'}
local seen, sums = {}, {}
local function add(batch)
  if seen[batch] then return end
  seen[batch] = true
  local h = redis.pcall('HMGET', P..'batch:'..batch, unpack(FIELDS))
  if h.err or h[1] ~= c or not h[2] or h[2] == 'loading' or h[2] == 'purging' then return end
  for i = 3, #FIELDS do
    local n = tonumber(h[i] or 0) or 0
    if n - n ~= 0 then n = 0 end                        -- `nan` and `inf` are numbers here
    sums[FIELDS[i]] = (sums[FIELDS[i]] or 0) + n
  end
end
if call('ZCARD', P..'deadline') + #ARGV > @tally_limit@ then return {} end
for j = 4, #ARGV do add(ARGV[j]) end
for _, batch in ipairs(call('ZRANGEBYSCORE', P..'batches', since, '+inf')) do add(batch) end
for _, batch in ipairs(call('ZRANGE', P..'deadline', 0, -1)) do add(batch) end
for _, zset in ipairs{'flight:', 'apart:'} do
  for _, member in ipairs(call('ZRANGE', P..zset..c, 0, -1)) do add(member:match('^(.-):') or member) end
end
local flat = {}
for field, n in pairs(sums) do flat[#flat + 1] = field; flat[#flat + 1] = string.format('%.0f', n) end
return {call('HGETALL', P..'totals:'..c), flat}
