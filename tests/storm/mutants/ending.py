"""Faults in what ends: erasure of what was sent, burial of the dead."""

from __future__ import annotations

from tests.storm.mutants.fault import PRELUDE, Fault

FAULTS = (
    Fault("erased before it was sent", PRELUDE, "if letter(h[i + 1]) == 's' then sent[", "if h[i + 1] then sent["),
    Fault("values stay", PRELUDE, "if class() == 'transactional' then erase_rows(k) end", ""),
    Fault("bulk mail is erased", PRELUDE, "if class() == 'transactional' then erase_rows(k) end", "erase_rows(k)"),
    Fault("the content stays", PRELUDE, "turn(); erase_content()", "turn()"),
    Fault("erased while some may be tried again", PRELUDE, "s == 'done' and sent == num('total')", "s == 'done'"),
    Fault("erased under an upload", PRELUDE, "or get('upload') or sent == 0", "or sent == 0"),
    Fault("attachments stay", PRELUDE, "if get('bare') then release_blobs() end", ""),
    Fault(
        "closed, and never looked at again",
        PRELUDE,
        "if s == 'closed' and num('n_sent') > 0 and class() == 'transactional' then",
        "if false then",
    ),
    Fault("rows are added to nothing", "commit", "if spec then", "if false then"),
    Fault("an upload in vain keeps the content", "commit", "erase_content()\n", ""),
    Fault("an upload given up keeps the content", "abandon", "erase_content(); ", ""),
    Fault("a zombie's sent stays", "record", "if not own and #write > 0 and", "if false and"),
    Fault("resolved as sent, and stays", "resolve", "erase_rows(k); erase_content()", ""),
    Fault("looked at, and stays", "erase", "then erase_rows(k) end", "then end"),
    Fault("looked at for ever", "erase", "call('SREM', P..'erase', b)", ""),
    Fault("bury ends everybody's leases", "bury", ":sub(1, #token) == token then", "then"),
    Fault("bury forgets apart", "bury", ", P..'apart:transactional', P..'apart:bulk'}", "}"),
    Fault("buried, and still counted", "bury", "; call('ZREM', P..'workers', ARGV[2])", ""),
)
