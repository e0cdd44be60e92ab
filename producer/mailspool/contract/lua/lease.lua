-- lease b k gen token relays : a worker takes a fed chunk.
-- Answers {OK, now, rows, outcomes, state, lost runs, batch fields} | {NO, why} | {NO, 'broken', what is wrong}: the records
-- cannot be read, and the chunk is set aside.
local k, gen, token = ARGV[3], ARGV[4], ARGV[5]
local function lease()
  local current, mine = call('HGET', RUN, k), 'run:'..gen..':'..token
  if not current then return {'NO', 'notfed'} end
  of_class(b, class() or error('its record has no class', 0)); readable(k)
  if current ~= mine then
    if current ~= 'fed:'..gen then return {'NO', 'busy'} end
    local s = state()
    if s == 'expired' then return {'NO', s} end       -- expire drops it
    if s ~= 'live' then drop(k); rest(k); return {'NO', s} end
    local relay = get('relay')
    if relay and relay ~= '' and not lists(ARGV[6], relay) then drop(k); rest(k, now + 1000); return {'NO', 'relay'} end
    call('HSET', RUN, k, mine); call('ZADD', P..'flight:'..class(), now + @lease_ms@, b..':'..k)
    call('HSETNX', B, 'started', now)
  end
  return {'OK', now, call('GET', P..'chunk:'..b..':'..k), call('HGETALL', outcomes(k)), state(),
    tonumber(call('HGET', LOST, k) or 0), call('HGETALL', B)}
end
local done, answer = pcall(lease)
if done then return answer end
redis.log(redis.LOG_WARNING, b..':'..k..' in lease: '..words(answer))
chunk_aside('transactional', k); chunk_aside('bulk', k)
return {'NO', 'broken', words(answer)}
