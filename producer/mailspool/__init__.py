"""Mailspool: a durable bulk mail queue. Scripts import everything they need from here.

Names are loaded at first use, so that `import mailspool` costs next to nothing and leaves redis, pydantic, arq,
jinja2 and aiosmtplib alone until they are needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailspool.batch import Batch as Batch
    from mailspool.client.relays import RelayStatus as RelayStatus
    from mailspool.client.why import Why as Why
    from mailspool.contract.states import Class as Class
    from mailspool.contract.states import OnUncertain as OnUncertain
    from mailspool.contract.states import State as State
    from mailspool.conversation import Conversation as Conversation
    from mailspool.errors import ConfigError as ConfigError
    from mailspool.errors import InputError as InputError
    from mailspool.errors import KeyConflict as KeyConflict
    from mailspool.errors import MailspoolError as MailspoolError
    from mailspool.errors import NotFound as NotFound
    from mailspool.errors import SpoolFull as SpoolFull
    from mailspool.errors import SpoolUnavailable as SpoolUnavailable
    from mailspool.errors import SpoolUnsafe as SpoolUnsafe
    from mailspool.errors import WaitTimeout as WaitTimeout
    from mailspool.message import Attachment as Attachment
    from mailspool.message import Message as Message
    from mailspool.settings import Settings as Settings
    from mailspool.spool import Spool as Spool
    from mailspool.status import BatchStatus as BatchStatus
    from mailspool.status import MessageStatus as MessageStatus
    from mailspool.status import SpoolStatus as SpoolStatus
    from mailspool.sync import SyncBatch as SyncBatch
    from mailspool.sync import SyncSpool as SyncSpool

__version__ = "1.0.0a1"

_HOMES = {
    "Attachment": "message",
    "Batch": "batch",
    "BatchStatus": "status",
    "Class": "contract.states",
    "ConfigError": "errors",
    "Conversation": "conversation",
    "InputError": "errors",
    "KeyConflict": "errors",
    "MailspoolError": "errors",
    "Message": "message",
    "MessageStatus": "status",
    "NotFound": "errors",
    "OnUncertain": "contract.states",
    "RelayStatus": "client.relays",
    "Settings": "settings",
    "Spool": "spool",
    "SpoolFull": "errors",
    "SpoolStatus": "status",
    "SpoolUnavailable": "errors",
    "SpoolUnsafe": "errors",
    "State": "contract.states",
    "SyncBatch": "sync",
    "SyncSpool": "sync",
    "WaitTimeout": "errors",
    "Why": "client.why",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'mailspool' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"mailspool.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
