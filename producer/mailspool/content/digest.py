"""What makes two batches say the same: the digest of a spec's content, and the words for what differs.

Called by message.py for `key=`. Pure. Rows, dates and classes are no content. Of finished MIME, Date, Message-ID and
boundaries are left out: a script that builds its mail afresh makes other ones at each run.
Known limit: a random Content-ID (`make_msgid` for an inline picture) makes finished MIME another content.
"""

from __future__ import annotations

import hashlib

import msgspec

from mailspool.content import finished
from mailspool.contract.records import Spec

_FIELDS = ("from", "to", "cc", "reply_to", "sender", "return_path", "subject", "text", "html", "headers", "attachments")


def digest(spec: Spec) -> str:
    """SHA-256 (hex) over everything that a receiver could see; the same for the same content in every release."""
    if spec.kind == "mime":
        parts: list[object] = ["mime", spec.return_path, *finished.canonical(spec.mime)]
    else:
        parts = [spec.kind, *(_field(spec, name) for name in _FIELDS)]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def changed_fields(old: Spec, new: Spec) -> list[str]:
    """Which fields of the content differ, in the words of `Message`; `content` where finished MIME is involved."""
    if digest(old) == digest(new):
        return []
    if "mime" in (old.kind, new.kind):
        return ["content"]
    changed = [name for name in _FIELDS if _field(old, name) != _field(new, name)]
    return changed or ["use of {{ }}"]  # the same words, once as a template, once literally


def _field(spec: Spec, name: str) -> object:
    if name == "from":
        return spec.from_
    if name == "headers":
        return [[field.lower(), value] for field, value in spec.headers]
    if name == "attachments":
        return [[ref.sha, ref.name, ref.type, ref.inline, ref.cid] for ref in spec.attachments]
    return getattr(spec, name)
