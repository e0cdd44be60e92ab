-- rewind_leases c : Redis' clock was set back. No lease is longer than a lease: who lives renews, who is gone is swept. A
-- worker, and an upload, that was last heard of in a time still to come was heard of now, at the latest.
-- Answers how many were corrected; 1,000 of each a call.
local c, corrected = ARGV[2], 0
local function cap(zset, most, at)
  for _, member in ipairs(call('ZRANGEBYSCORE', zset, '('..most, '+inf', 'LIMIT', 0, 1000)) do
    call('ZADD', zset, at, member); corrected = corrected + 1
  end
end
local longest = now + max(@lease_ms@, @feed_grace_ms@)
cap(P..'flight:'..c, longest, now + @lease_ms@)
cap(P..'apart:'..c, longest, now + @lease_ms@)
cap(P..'workers', now, now)
cap(P..'loading', now, now)
return corrected
