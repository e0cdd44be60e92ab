"""Faults in what all moves stand on: accounts, turns, rest, feeding."""

from __future__ import annotations

from mailspool.contract.states import WORKER_ALIVE_MS
from tests.storm.mutants.fault import PRELUDE, Fault

FAULTS = tuple(
    Fault(name, PRELUDE, old, new)
    for name, old, new in (
        (
            "class totals forgotten",
            "local done = redis.pcall('HINCRBY', totals, field, by)",
            "local done = field == 'n_failed' or redis.pcall('HINCRBY', totals, field, by)",
        ),
        ("a closed batch counts twice", "if FINAL[new] then add('n_'..verdict, -1) end", ""),
        ("cancelled batch takes rows", "if s == 'closing' or s == 'closed' then return get('verdict') end", ""),
        (
            "past-deadline batch takes rows",
            "if (s == 'live' or s == 'held') and now >= num('expires') then return 'expired' end\nend",
            "end",
        ),
        (
            "over one ms late",
            "and now >= num('expires') then return 'expired' end\nend",
            "and now > num('expires') then return 'expired' end\nend",
        ),
        ("pause ignored by workers", "if s == 'live' and paused_class(class()) then return 'held' end", ""),
        (
            "deadline ignored by workers",
            "if s == 'live' and now >= num('expires') then return 'expired' end\n  return s",
            "return s",
        ),
        ("pause of the spool ignored", "call('HEXISTS', P..'paused', 'spool') == 1 or", ""),
        ("send_at forgotten in turns", "max(num('send_at'), num('wait_until'))", "num('wait_until')"),
        ("wait_until forgotten in turns", "max(num('send_at'), num('wait_until'))", "num('send_at')"),
        ("equal turns", "call('INCR', P..'turn')", "call('GET', P..'turn') or 0"),
        ("a turn and a later turn", "call('ZREM', open, b); call('ZADD', later, t, b)", "call('ZADD', later, t, b)"),
        ("always behind the others", "if go_last or not call('ZSCORE', open, b) then", "do"),
        (
            "done keeps its deadline",
            "call('ZREM', P..'deadline', b); call('ZADD', P..'retire'",
            "call('ZADD', P..'retire'",
        ),
        ("bad ones go as early as good ones", "(bad and num('keep_bad') or num('keep'))", "num('keep')"),
        (
            "a wait outlives rest",
            "call('HDEL', B, 'wait_until', 'wait_why', 'rate_until', 'closed_until', 'closed_why',",
            "call('HDEL', B, 'rate_until', 'closed_until', 'closed_why',",
        ),
        ("lost runs outlive rest", "call('DEL', DUE, RUN, LOST)", "call('DEL', DUE, RUN)"),
        (
            "woken, and still purged",
            "call('ZREM', P..'retire', b); call('ZADD', P..'deadline', num('expires'), b)",
            "call('ZADD', P..'deadline', num('expires'), b)",
        ),
        ("woken without a deadline", "; call('ZADD', P..'deadline', num('expires'), b)", ""),
        (
            "woken, and still finished",
            "call('HSET', B, 'state', 'live'); call('HDEL', B, 'finished')",
            "call('HSET', B, 'state', 'live')",
        ),
        ("close: uncertain counted as cancelled", "for i = 2, 5 do rest", "for i = 2, 3 do rest"),
        ("close: deferred stay counted", "bump('n_deferred', -num('n_deferred'));", ""),
        ("a claim at rest is not odd", "recount('c', is); call('SADD', P..'odd:'..b, k)", "recount('c', is)"),
        (
            "the innocent is failed at once",
            "if as == 'f' and (tonumber(claim:sub(18, 18)) or 0) < 3",
            "if false",
        ),
        (
            "the poisoned one goes again for ever",
            "if as == 'f' and (tonumber(claim:sub(18, 18)) or 0) < 3",
            "if as == 'f'",
        ),
        ("a claim at rest without accounts", "recount('c', is);", ""),
        (
            "drop leaves apart",
            "call('ZREM', P..'flight:'..class(), member); call('ZREM', P..'apart:'..class(), member)",
            "call('ZREM', P..'flight:'..class(), member)",
        ),
        ("last settle does not close", "if call('HLEN', RUN) == 0 then finish() end return end", "return end"),
        ("closed while others run", "if call('HLEN', RUN) == 0 then finish() end return end", "finish() return end"),
        ("chunk finished too early", "if final < rows then", "if have < rows or first and final + #tries < rows then"),
        ("earliest is latest", "if not first or t < first then", "if not first or t > first then"),
        ("tries are not gathered", "if t <= edge and t > due then due = t end", "if false then due = t end"),
        (
            "gathered too far",
            "math.min(60000, max(0, math.floor((first - now) / 10)))",
            "math.min(600000, max(0, math.floor((first - now) / 2)))",
        ),
        ("gathered past a minute", "math.min(60000,", "math.min(66000,"),
        ("blocked chunk is due at once", "if not_before > now then due = max(due, not_before) end", ""),
        ("due past the deadline", "math.min(due, max(num('expires'), now))", "due"),
        ("a finished chunk keeps its lost runs", "call('ZREM', DUE, k); call('HDEL', LOST, k)", "call('ZREM', DUE, k)"),
        (
            "done with a run outside",
            "if call('ZCARD', DUE) == 0 and call('HLEN', RUN) == 0 then",
            "if call('ZCARD', DUE) == 0 then",
        ),
        ("dead workers count", f"now - {WORKER_ALIVE_MS} + 1, '+inf'", "'-inf', '+inf'"),
        ("a worker dies one ms late", f"now - {WORKER_ALIVE_MS} + 1, '+inf'", f"now - {WORKER_ALIVE_MS}, '+inf'"),
        ("pin not looked at", "(not relay or relay == '' or lists(w[1], relay))", "true"),
        ("version not looked at", "if lists(w[2], version) and", "if"),
        ("half a name will do", "(','..names..','):find(','..name..',', 1, true)", "names:find(name, 1, true)"),
        ("gen reused", "call('HINCRBY', B, 'gen', 1)", "num('gen') + 1"),
        ("fed, and still due", "'fed:'..gen); call('ZREM', DUE, k);", "'fed:'..gen);"),
        ("pause ignored by feed", "if paused_class(c) then return ids end", ""),
        ("later is never looked at", "do guarded(later, batch, look) end\n  local room", "do end"),
        ("window counts nothing", "2 * slots(c)) - call('ZCARD', P..'flight:'..c)", "2 * slots(c))"),
        ("window one too large", "if room <= 0 then break end", "if room < 0 then break end"),
        (
            "feeder stops at an unservable batch",
            "call('ZREM', open, b); call('ZADD', later, now + 1000, b)\n    else",
            "break\n    else",
        ),
        (
            "unservable batches wait for ever",
            "call('ZREM', open, b); call('ZADD', later, now + 1000, b)\n    else",
            "call('ZREM', open, b)\n    else",
        ),
        (
            "latest due first",
            "call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, 1)",
            "call('ZREVRANGEBYSCORE', DUE, now, '-inf', 'LIMIT', 0, 1)",
        ),
        (
            "an attachment goes with its first user",
            "if call('SCARD', blob..':refs') == 0 then call('UNLINK', blob) end",
            "call('UNLINK', blob)",
        ),
        ("an attachment stays for ever", "if call('SCARD', blob..':refs') == 0 then call('UNLINK', blob) end", ""),
        ("references stay for ever", "call('SREM', blob..':refs', b)", ""),
        (
            "payload without its head",
            "return string.char(220, math.floor(n / 256), n % 256)",
            "return string.char(220, math.floor(n / 256), 0)",
        ),
    )
)
