-- unpause what : the end of a pause.
return call('HDEL', P..'paused', ARGV[2])
