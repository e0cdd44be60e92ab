-- leave worker : a worker that stopped in order; nobody need wait for its heartbeat to fade.
call('DEL', P..'worker:'..ARGV[2])
return call('ZREM', P..'workers', ARGV[2])
