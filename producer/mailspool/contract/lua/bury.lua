-- bury worker : its process is provably gone: its leases end now, for the sweep, and nobody waits for its heartbeat.
-- Whether it is gone, only a process of its own machine can know: the caller has looked. Answers how many leases ended.
local ended, token = 0, ':'..ARGV[2]..'.'
for _, zset in ipairs{P..'flight:transactional', P..'flight:bulk', P..'apart:transactional', P..'apart:bulk'} do
  for _, member in ipairs(call('ZRANGEBYSCORE', zset, '('..now, '+inf')) do
    local batch, k = member:match('^(.-):(.+)$')
    local run = batch and call('HGET', P..'run:'..batch, k)
    if run and run:sub(1, 4) == 'run:' and run:match('^run:%d+(.*)$'):sub(1, #token) == token then
      call('ZADD', zset, now, member); ended = ended + 1
    end
  end
end
call('DEL', P..'worker:'..ARGV[2]); call('ZREM', P..'workers', ARGV[2])
return ended
