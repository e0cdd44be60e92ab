-- pause what : 'spool' or a class; nobody feeds it, workers take its batches as held.
return call('HSET', P..'paused', ARGV[2], now)
