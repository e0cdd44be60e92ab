-- unpause what : the end of a pause. A relay may also look again at once where it was closed for another reason: its
-- workers see `resumed` change (sent twice it looks twice). Answers 1, or 0 for what was not paused.
local relay = ARGV[2]:match('^relay:(.+)$')
if relay then call('HINCRBY', P..'route:'..relay, 'resumed', 1) end
return call('HDEL', P..'paused', ARGV[2])
