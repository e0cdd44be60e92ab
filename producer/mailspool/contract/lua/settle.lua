-- settle b k token later why scope words : the run is over. why '' | rate | closed; scope chunk | batch; later in ms from now.
-- words: who keeps it closed, for people, where that is not a whole relay.
local k, token, why, whole_batch = ARGV[3], ARGV[4], ARGV[6], ARGV[7] == 'batch'
local later = now + math.min(tonumber(ARGV[5]), @later_limit_ms@)
if call('HGET', RUN, k) ~= 'run:'..token then return 'LOST' end
readable(k)
drop(k); unclaim(k, 'u')
if why == '' then call('HDEL', LOST, k) end               -- a run that is put off has shown nothing about its chunk
if why ~= '' and whole_batch and get('state') ~= 'closing' then
  call('HSET', B, 'wait_until', max(num('wait_until'), later), 'wait_why', why)
end
if why ~= '' then  -- drained waits for a rate; resume brings back what a closed route put off
  local field = why..'_until'
  call('HSET', B, field, max(num(field), later))
end
if why == 'closed' then
  if ARGV[8] and ARGV[8] ~= '' then call('HSET', B, 'closed_why', ARGV[8]) else call('HDEL', B, 'closed_why') end
end
rest(k, why ~= '' and not whole_batch and later or 0)
return 'OK'
