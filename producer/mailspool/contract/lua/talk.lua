-- talk b most tries [n attempt]... : conversations of failed attempts, for people alone; not a part of the accounts.
-- A message keeps its last `tries` (below 16), a batch those of `most` messages. Each attempt becomes a msgpack bin.
-- Answers how many messages were turned away because the batch has `most` already; -1: the batch is gone.
local most, tries, away = tonumber(ARGV[3]), tonumber(ARGV[4]), 0
local s = get('state')
if not s or s == 'purging' then return -1 end
local TALK = P..'talk:'..b
local room = most - call('HLEN', TALK)
for j = 5, #ARGV, 2 do
  local n, new, old = ARGV[j], ARGV[j + 1], call('HGET', TALK, ARGV[j])
  if not old and room <= 0 then away = away + 1
  else
    if not old then room = room - 1; old = string.char(144) end                        -- an array of 0
    local size = #new
    new = (size < 256 and string.char(196, size) or string.char(197, math.floor(size / 256), size % 256))..new
    if old:sub(-#new) ~= new then                                                      -- else: the same call again
      local count, from = old:byte(1) - 144, 2
      while count >= tries do                                                          -- the oldest goes
        from = from + (old:byte(from) == 196 and 2 + old:byte(from + 1) or 3 + old:byte(from + 1) * 256 + old:byte(from + 2))
        count = count - 1
      end
      call('HSET', TALK, n, string.char(145 + count)..old:sub(from)..new)
    end
  end
end
return away
