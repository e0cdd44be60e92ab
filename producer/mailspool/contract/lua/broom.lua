-- broom class version start : arq ids of this queue that no run stands behind; 200 a call. Answers the next start, or -1.
-- (Only arq's own loss of keys, or a worker that died between two of its writes, leaves such.)
local queue, start = P..'q:'..ARGV[2]..':v'..ARGV[3], tonumber(ARGV[4])
local ids = call('ZRANGE', queue, start, start + 199)
local gone = 0
for _, id in ipairs(ids) do
  local batch, k, gen = id:sub(#P + 1):match('^([^:]+):(%d+):(%d+)$')
  local ours = batch and id:sub(1, #P) == P             -- arq's own cron jobs wait in the same queue
  local run = ours and call('HGET', P..'run:'..batch, k)
  if ours and (not run or run:match('^%a+:(%d+)') ~= gen) then
    call('ZREM', queue, id); call('DEL', 'arq:job:'..id, 'arq:retry:'..id); gone = gone + 1
  end
end
if #ids < 200 then return -1 end
return start + 200 - gone
