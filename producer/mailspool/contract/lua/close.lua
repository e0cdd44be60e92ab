-- close b verdict : cancelled (anyone) or expired (the tick, at the deadline). Fed chunks are dropped; the last run that
-- settles or is swept closes the batch. Answers how many messages are not final, 0 if there was nothing to close.
local s = get('state')
if s ~= 'live' and s ~= 'held' then
  if ARGV[3] == 'expired' then call('ZREM', P..'deadline', b) end     -- none of its; others would wait behind it
  return 0
end
if ARGV[3] == 'expired' and now < num('expires') then return 0 end
call('HSET', B, 'state', 'closing', 'verdict', ARGV[3]); call('ZREM', P..'deadline', b); turn()
local open = num('total') - num('n_sent') - num('n_failed') - num('n_uncertain') - num('n_suppressed')
local runs = call('HGETALL', RUN)
for i = 1, #runs, 2 do if runs[i + 1]:sub(1, 3) == 'fed' then drop(runs[i]) end end
if call('HLEN', RUN) == 0 then finish() end
return open
