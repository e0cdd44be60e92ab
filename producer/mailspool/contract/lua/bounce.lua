-- bounce b token suppress words [kind identity value]... : what final refusals of a batch say about addresses, and the batch's
-- breaker. kind x (dead: suppressed), s (suspect: suppressed when a second batch says so), p (policy: only counted).
-- More than 50 and more than a tenth of what was handled: nothing is suppressed, the batch is held, `held_why` says why.
-- An alarm, not a part of the accounts. The last calls are remembered by their tokens (8 characters). Answers OK | HELD | GONE.
local s, words = get('state'), ARGV[5]
if not s or s == 'loading' or s == 'purging' then return 'GONE' end
local calls = get('bounce_calls') or ''
if not calls:find(ARGV[3], 1, true) then
  call('HSET', B, 'bounce_calls', (ARGV[3]..' '..calls):sub(1, 63))                    -- short: the hash stays a listpack
  local n = call('HINCRBY', B, 'bounced', math.floor((#ARGV - 5) / 3))
  local of = max(num('n_sent') + num('n_failed') + num('n_uncertain') - num('bounced_from'), n)
  if n > @breaker_least@ and n > of * @breaker_share@ then
    if s == 'live' or s == 'held' then
      call('HSET', B, 'state', 'held', 'held_why', string.format('breaker: %d of %d bounced or were refused by policy: ', n, of)..words)
      turn()
    end
  elseif ARGV[4] == '1' then
    for j = 6, #ARGV, 3 do
      local kind, id, value = ARGV[j], ARGV[j + 1], ARGV[j + 2]
      local first, at = (kind == 's' and call('HGET', P..'suspects', id) or ''):match('^(%S*) ?(%d*)$')
      if first == '' or (tonumber(at) or now) + @suspect_age_ms@ < now then first = nil end
      if kind == 'x' or first and first ~= b then
        call('HSETNX', P..'suppressed', id, value); call('HDEL', P..'suspects', id)
      elseif kind == 's' then call('HSET', P..'suspects', id, b..' '..string.format('%.0f', now)) end
    end
  end
end
return get('held_why') and 'HELD' or 'OK'
