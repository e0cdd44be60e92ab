"""The sandbox: a receiving SMTP server that keeps what it gets, shows it, and misbehaves on command.

Receiver        the server, in this event loop (receiver.py); `serve` runs one until cancelled
                (`python -m mailspool.sandbox` runs one in a process of its own: __main__.py)
ReceiverOptions what it offers and how it misbehaves for everybody (options.py)
orders          what a local part such as `450-3-ali` orders (orders.py); `order_help()` is the table
LogRecord, ReceivedMail, IndexLine, read_log    what it remembers (records.py, journal.py)
summarise, describe, harmless   raw mail as words for a person (show.py)

Imports neither the worker nor Redis.
"""

from __future__ import annotations

from mailspool.sandbox.journal import read_log
from mailspool.sandbox.options import ReceiverOptions
from mailspool.sandbox.orders import RULES, Order, Rule, order_help, orders
from mailspool.sandbox.receiver import Receiver, serve
from mailspool.sandbox.records import IndexLine, LogRecord, ReceivedMail, Stage
from mailspool.sandbox.show import MailSummary, PartSummary, describe, harmless, summarise

__all__ = [
    "RULES",
    "IndexLine",
    "LogRecord",
    "MailSummary",
    "Order",
    "PartSummary",
    "ReceivedMail",
    "Receiver",
    "ReceiverOptions",
    "Rule",
    "Stage",
    "describe",
    "harmless",
    "order_help",
    "orders",
    "read_log",
    "serve",
    "summarise",
]
