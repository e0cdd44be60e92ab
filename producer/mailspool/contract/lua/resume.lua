-- resume b : a batch that waited because its routes were closed may try at once.
if get('wait_why') ~= 'closed' then return 0 end
call('HDEL', B, 'wait_until', 'wait_why'); turn()
return 1
