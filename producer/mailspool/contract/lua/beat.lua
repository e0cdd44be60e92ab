-- beat worker [field value]... : a worker lives; its record vanishes by itself when it does not. Answers now.
local key = P..'worker:'..ARGV[2]
call('DEL', key); call('HSET', key, unpack(ARGV, 3)); call('PEXPIRE', key, @worker_alive_ms@)
call('ZADD', P..'workers', now, ARGV[2])
call('ZREMRANGEBYSCORE', P..'workers', '-inf', now - 20 * @worker_alive_ms@)
return now
