-- detach b k token : what is left of this run is on the wire only; the window forgets it, the lease stays.
local k, token = ARGV[3], ARGV[4]
if call('HGET', RUN, k) ~= 'run:'..token then return 'LOST' end
local member = b..':'..k
local ends = call('ZSCORE', P..'flight:'..class(), member)
if ends then call('ZREM', P..'flight:'..class(), member); call('ZADD', P..'apart:'..class(), ends, member) end
return 'OK'
