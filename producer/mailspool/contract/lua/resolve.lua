-- resolve b k letter [i]... : a person decides that uncertain ones were sent (s) or failed (f).
local k, as, moved = ARGV[3], ARGV[4], 0
local s = get('state')
if not s or s == 'purging' then return 0 end
for j = 5, #ARGV do
  local old = call('HGET', outcomes(k), ARGV[j])
  if letter(old or nil) == 'u' then
    call('HSET', outcomes(k), ARGV[j], as..old:sub(2)); recount('u', as, closed_as()); moved = moved + 1
  end
end
if moved > 0 and as == 's' and class() == 'transactional' then erase_rows(k); erase_content() end
return moved
