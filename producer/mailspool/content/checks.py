"""What a person wrote into a message, checked: each function returns the checked value or raises Fault with a sentence.

Called by message.py, which collects the faults of a whole message into one InputError. A text that holds Jinja tags
is only checked for what no rendering could mend; the rest is checked where it is known to be literal or a template.
"""

from __future__ import annotations

import difflib
import mimetypes
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from mailspool.content.address import AddressError, Mailbox, parse_mailbox, parse_mailboxes
from mailspool.content.guesses import is_template
from mailspool.content.headers import is_field_name

_T = TypeVar("_T")
CELL = 60
"""As much of an offending text as an error shows."""

_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:; ?[\w!#$&^.+-]+=(?:[\w!#$&^.+-]+|\"[\w!#$&^.+ -]*\"))*", re.ASCII)
_CID = re.compile(r"[!-;=?-~]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_USE_INSTEAD = {
    "from": "from_=",
    "to": "to=",
    "cc": "cc=",
    "bcc": "bcc=",
    "reply-to": "reply_to=",
    "sender": "sender=",
    "return-path": "return_path=",
    "subject": "subject=",
}
_OURS = frozenset(("date", "message-id"))
_NEW_TYPES = {
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ics": "text/calendar",
    ".webp": "image/webp",
}
"""Not in Python's own table in every version that we run on."""
_PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


class Fault(Exception):  # noqa: N818 - one of the faults of a message, never seen outside
    """One thing that is wrong, as a sentence. `exit_code` where it is not the usual one of bad input."""

    def __init__(self, sentence: str, *, exit_code: int | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.exit_code = exit_code


def unknown_field(name: str, known: Iterable[str], owner: str) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"{owner} has no field {name[:CELL]!r}.{f' Did you mean {near[0]}?' if near else ''}"


def text_value(label: str, value: object) -> str:
    """Any text: no NUL, no half characters."""
    if not isinstance(value, str):
        raise Fault(f"{label} must be a text (str), not {type(value).__name__}.")
    if "\0" in value:
        raise Fault(f"{label} holds a NUL character: no mail may.")
    if _SURROGATE.search(value):
        raise Fault(f"{label} holds half a character (a lone surrogate): read its source as UTF-8.")
    return value


def line_value(label: str, value: object) -> str:
    """A text that goes into a header field."""
    text = text_value(label, value)
    if "\n" in text or "\r" in text:
        raise Fault(f"{label} holds a line break: a header field is one line.")
    return text


def mailbox_value(label: str, value: object, *, literal: bool = False) -> str:
    text = line_value(label, value)
    if literal or not is_template(text):
        _parsed(label, text, parse_mailbox)
    return text


def literal_mailbox(label: str, value: object) -> str:
    """A mailbox in a field that is never a template."""
    return mailbox_value(label, value, literal=True)


def path_value(label: str, value: object) -> str:
    """A mailbox, or `<>` for no sender at all (RFC 5321, 4.5.5)."""
    text = line_value(label, value)
    return "<>" if text.strip() == "<>" else literal_mailbox(label, text)


def mailbox_list(label: str, value: object, *, literal: bool = False) -> tuple[str, ...]:
    """One text of mailboxes or several; None for none."""
    if value is None:
        return ()
    if not isinstance(value, str) and (not isinstance(value, Sequence) or isinstance(value, bytes)):
        raise Fault(f"{label} must be an address or a list of addresses, not {type(value).__name__}.")
    texts = [value] if isinstance(value, str) else value
    lines = tuple(line_value(label, text) for text in texts)
    for line in lines:
        if literal or not is_template(line):
            _parsed(label, line, parse_mailboxes)
    return lines


def _parsed(label: str, text: str, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(text)
    except AddressError as error:
        raise Fault(f'{label} "{text[:CELL]}": {error}.') from None


def boxes(label: str, lines: Iterable[str]) -> list[Mailbox]:
    """The mailboxes of lines that hold no template (any more)."""
    return [box for line in lines for box in _parsed(label, line, parse_mailboxes)]


def body_value(label: str, value: object) -> str | None:
    """A text, or the UTF-8 file of a Path, read at once."""
    if value is None:
        return None
    if not isinstance(value, Path):
        if not isinstance(value, str):
            raise Fault(f"{label} must be a text (str) or a file (Path), not {type(value).__name__}.")
        return text_value(label, value)
    data = file_bytes(value)
    try:
        return text_value(label, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Fault(f"{label}: {value} is not UTF-8 (line {line}). Save it as UTF-8.") from None


def file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Fault(f"no file {path}.", exit_code=66) from None
    except OSError as error:
        raise Fault(f"{path} cannot be read: {error.strerror}.", exit_code=66) from None


def header_map(value: object) -> dict[str, str]:
    """Custom header fields: no name that Mailspool writes itself, nothing that could begin another field."""
    if not isinstance(value, Mapping):
        raise Fault(f"headers must be a dict of names and texts, not {type(value).__name__}.")
    checked: dict[str, str] = {}
    seen: set[str] = set()
    for name, text in value.items():
        _header_name(name)
        if name.lower() in seen:
            raise Fault(f"headers: {name} is given twice.")
        seen.add(name.lower())
        checked[name] = line_value(f"header {name}", text)
    return checked


def _header_name(name: object) -> None:
    if not isinstance(name, str) or not is_field_name(name):
        raise Fault(
            f"headers: {str(name)[:CELL]!r} is no header name (letters, digits and hyphens; no colon, no space)."
        )
    lower = name.lower()
    if lower in _USE_INSTEAD:
        raise Fault(f"headers: use {_USE_INSTEAD[lower]} for {name}.")
    if lower in _OURS:
        raise Fault(f"headers: Mailspool writes {name} itself, the same at every attempt.")
    if lower.startswith(("mime-", "content-")):
        raise Fault(f"headers: {name} follows from the content: use text=, html= and attachments=.")


def source_value(value: object) -> Path | bytes:
    """Where an attachment comes from: an existing file, or the content itself."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str | Path):
        raise Fault(f"Attachment takes a path or bytes, not {type(value).__name__}.")
    if is_template(str(value)):
        raise Fault(
            f'Attachment "{str(value)[:CELL]}": a file for each row ({{{{ }}}} in the path) is not offered yet.'
        )
    if "\0" in str(value):
        raise Fault("The path of an attachment holds a NUL character.")
    path = Path(value)
    if not path.is_file():
        raise Fault(f"{path} is a folder." if path.is_dir() else f"no file {path}.", exit_code=66)
    return path


def attachment_name(value: object, source: Path | bytes | None) -> str:
    if value is not None:
        text = line_value("name", value)
        if not text.strip():
            raise Fault("The name of an attachment is empty.")
        return text
    if isinstance(source, Path):
        return line_value("The name of an attachment", source.name)
    raise Fault('Attachment of bytes needs a name: Attachment(data, name="invoice.pdf").')


def flag(label: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise Fault(f"{label} must be True or False, not {type(value).__name__}.")
    return value


def attachment_type(name: str, value: object) -> str:
    """The media type given, or the one that the name's ending tells."""
    if value is None:
        return guessed_type(name)
    text = line_value("type", value)
    if not _TYPE.fullmatch(text):
        raise Fault(f'type "{text[:CELL]}" is no media type like application/pdf.')
    if text.lower().startswith("multipart/"):
        raise Fault(f'type "{text[:CELL]}": a file is never multipart.')
    return text


def guessed_type(name: str) -> str:
    """By Python's own table alone: the same name gives the same type on every machine."""
    table = mimetypes.MimeTypes()
    for ending, its_type in _NEW_TYPES.items():
        table.add_type(its_type, ending)
    kind, packed = table.guess_type(Path(name).name.replace("{", "").replace("}", ""))
    if packed is not None:
        return _PACKED.get(packed, "application/octet-stream")
    return kind or "application/octet-stream"


def content_id(value: object, *, name: str, inline: bool) -> str | None:
    """What `<img src="cid:...">` names; the file's name unless something else is given."""
    if value is None and not inline:
        return None
    text = name if value is None else line_value("cid", value).strip("<>")
    if not _CID.fullmatch(text) or is_template(text):
        raise Fault(f'an inline attachment needs cid="..." of plain characters; "{text[:CELL]}" is none.')
    return text
