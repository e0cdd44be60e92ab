"""How Spool and Batch do it: a connection, terms, rows that become chunks, uploads, and reading what is there.

connection.py  the link, the moves, arq's wake-ups
terms.py       key, class, dates, policy: checked, and what is stored of them
specs.py       what a caller hands in -> the batch's spec
rowfeed.py     checked rows -> chunks
upload.py      begin, load, commit
single.py      one mail in one round trip
browse.py      reading batches and messages
loop_thread.py the loop behind SyncSpool, and the threads that wait for it
"""

from __future__ import annotations
