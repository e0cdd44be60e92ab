-- forget cursor : suspected addresses that nobody has complained about again for @suspect_age_ms@ ms, a step of a hundred or so.
-- One that an older release noted, without its time, is dated now. Answers the next cursor; 0 when all were looked at.
local key = P..'suspects'
local found = call('HSCAN', key, ARGV[2], 'COUNT', 100)
for j = 1, #found[2], 2 do
  local id, at = found[2][j], tonumber(found[2][j + 1]:match(' (%d+)$'))
  if not at then call('HSET', key, id, found[2][j + 1]:match('^%S*')..' '..string.format('%.0f', now))
  elseif at + @suspect_age_ms@ < now then call('HDEL', key, id) end
end
return tonumber(found[1])
