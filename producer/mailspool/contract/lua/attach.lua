-- attach b u sha [bytes] : give the batch an attachment. Without bytes: answers OK if it lies there already, else SEND.
local u, sha, data = ARGV[3], ARGV[4], ARGV[5]
if get('upload') ~= u then return 'TAKEN' end
local blob = P..'blob:'..sha
if call('EXISTS', blob) == 0 then
  if not data then return 'SEND' end
  call('SET', blob, data)
end
call('SADD', blob..':refs', b); call('SADD', P..'blobs:'..b, sha)
call('ZADD', P..'loading', now, u)
return 'OK'
