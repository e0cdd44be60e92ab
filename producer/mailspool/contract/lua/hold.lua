-- hold b : nothing more leaves until release; what is on the wire finishes. Answers how many messages it touches.
if get('state') ~= 'live' then return 0 end
call('HSET', B, 'state', 'held'); turn()
return num('total') - num('n_sent') - num('n_failed') - num('n_uncertain') - num('n_suppressed')
