"""The Redis that carries the queue: a server of the user's, or the embedded Valkey that Mailspool starts itself.

link.py      one process' way to its Redis: connect by settings, judge, wait out an outage (what everybody else uses)
address.py   a redis:// URL, taken apart; its name for people
broken.py    a key of ours holds something else: in words
safety.py    may this Redis carry mail, and is there room?
embedded.py  the embedded server: start, adopt, leave
folder.py    is this folder fit for it?
process.py   one server process: find, spawn, ask, end
locks.py     file locks that survive kill -9 and fork
tasks.py     ending background tasks for sure, although redis-py may swallow a cancellation

Import from the modules: this file loads nothing.
"""
