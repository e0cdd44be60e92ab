-- erase b start : what rest could not reach: sent mails of a transactional batch in chunks that were finished otherwise
-- (closed before their time, or sent as a zombie said). 100 chunk numbers a call. Answers the next start, or -1.
local start = tonumber(ARGV[3])
local s, edge = get('state'), num('next')
if class() == 'transactional' and s and s ~= 'loading' and s ~= 'purging' then
  for k = start, math.min(start + 100, edge) - 1 do if call('HEXISTS', ROWS, k) == 1 then erase_rows(k) end end
  erase_content()
  if start + 100 < edge then return start + 100 end
end
call('SREM', P..'erase', b)
return -1
