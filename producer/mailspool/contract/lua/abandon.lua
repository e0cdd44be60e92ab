-- abandon b u : the producer gives its upload up; the key is free for the next begin at once, the rest is collected.
if get('upload') ~= ARGV[3] then return 'TAKEN' end
call('HDEL', B, 'upload'); erase_content(); call('ZADD', P..'loading', 0, ARGV[3])
return 'OK'
