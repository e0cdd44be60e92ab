-- leave worker : a worker that stopped in order; nobody need wait for its heartbeat to fade.
call('DEL', P..'worker:'..ARGV[2])
call('HSET', P..'chores', 'clock', now)                -- whoever starts next sees whether it was set back
return call('ZREM', P..'workers', ARGV[2])
