-- resume b : a batch that waited because its routes were closed may try at once; so may chunks of it that were put off.
-- Their due is derived again from what is written: now for what was never tried, else the next try as it stands.
if get('wait_why') ~= 'closed' and num('closed_until') <= now then return 0 end
if get('wait_why') == 'closed' then call('HDEL', B, 'wait_until', 'wait_why') end
call('HDEL', B, 'closed_until', 'closed_why')
for _, k in ipairs(call('ZRANGEBYSCORE', DUE, '('..now, now + @later_limit_ms@, 'LIMIT', 0, 1000)) do rest(k) end
turn()
return 1
