-- release b : the end of a hold, also of the breaker's, which counts anew from here. Answers how many messages may go again.
if get('state') ~= 'held' then return 0 end
if get('held_why') then
  call('HDEL', B, 'held_why', 'bounced'); call('HSET', B, 'bounced_from', num('n_sent') + num('n_failed') + num('n_uncertain'))
end
call('HSET', B, 'state', 'live'); turn()
return num('total') - num('n_sent') - num('n_failed') - num('n_uncertain') - num('n_suppressed')
