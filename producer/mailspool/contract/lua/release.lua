-- release b : the end of a hold. Answers how many messages may go again.
if get('state') ~= 'held' then return 0 end
call('HSET', B, 'state', 'live'); turn()
return num('total') - num('n_sent') - num('n_failed') - num('n_uncertain') - num('n_suppressed')
