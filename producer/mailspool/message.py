"""What a person writes: Message and Attachment, their checks, and the spec that they become.

Called by scripts (through `mailspool`), by the client and the command line. Everything wrong with a message is told at
once, as InputError (`.problems` has one sentence each), also by `model_validate`. Whether a text is a template is not
known here: `send` takes a message literally, `send_batch` as a template; `to_spec` is told which.
An Attachment's `str` is the path of a local file: never validate foreign JSON as a Message without looking at it.
Known limit: attached files are read when the spec is made; that they exist is checked at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mailspool.content import checks
from mailspool.content.address import Mailbox, identity
from mailspool.content.checks import Fault
from mailspool.contract.records import AttachmentRef, Spec
from mailspool.contract.states import RECORD_VERSION
from mailspool.errors import InputError

_BAD = "bad_message"
_ADDRESSED = ("from", "to", "reply_to")
_T = TypeVar("_T")


class _Checked(BaseModel):
    """A frozen model whose errors are InputErrors in sentences."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, arbitrary_types_allowed=True)

    def __init__(self, **data: object) -> None:
        with _in_sentences():
            super().__init__(**data)

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:  # pydantic's own signature
        """From a dict, as parsed JSON or TOML gives it: there the sender stands under `from`."""
        with _in_sentences():
            return super().model_validate(obj, **options)


class Attachment(_Checked):
    """A file that all messages of a call share. `source`: a path, or the content itself as bytes (then with a name)."""

    source: Path | bytes = Field(repr=False)
    name: str
    type: str
    inline: bool = False
    cid: str | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            source: str | Path | bytes,
            *,
            name: str | None = None,
            type: str | None = None,  # noqa: A002 - the public name
            inline: bool = False,
            cid: str | None = None,
        ) -> None: ...

    else:

        def __init__(self, source: object = None, **data: object) -> None:
            super().__init__(source=source, **data)

    @model_validator(mode="before")
    @classmethod
    def _check(cls, data: object) -> object:
        given = _Given("Attachment", data, ("source", "name", "type", "inline", "cid"))
        source = given.checked("source", checks.source_value)
        name = given.checked("name", partial(checks.attachment_name, source=source)) if source is not None else None
        inline = given.checked("inline", partial(checks.flag, "inline")) if given.has("inline") else False
        if name is not None:
            given.checked("type", partial(checks.attachment_type, name))
            given.checked("cid", partial(checks.content_id, name=name, inline=inline is True))
        return given.values()

    def content(self) -> bytes:
        """The bytes. Raises InputError if the file is gone."""
        if isinstance(self.source, bytes):
            return self.source
        try:
            return checks.file_bytes(self.source)
        except Fault as fault:
            raise _error([fault]) from None


class Message(_Checked):
    """One mail, or the template of many: Jinja may stand in from_, to, reply_to, subject, text, html, header values.

    `to`, `cc`, `bcc`: one text or several. `text`, `html`: a str is the content, a Path a UTF-8 file, read at once.
    html alone gets a text part made from it, unless `text=""`. `return_path`: the envelope sender, `<>` for none.
    """

    from_: str | None = Field(default=None, alias="from")
    to: tuple[str, ...] = Field(default=(), repr=False)
    cc: tuple[str, ...] = Field(default=(), repr=False)
    bcc: tuple[str, ...] = Field(default=(), repr=False)
    reply_to: str | None = None
    sender: str | None = None
    return_path: str | None = None
    subject: str = Field(default="", repr=False)
    text: str | None = Field(default=None, repr=False)
    html: str | None = Field(default=None, repr=False)
    attachments: tuple[Attachment, ...] = ()
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            from_: str | None = None,
            to: str | Sequence[str] | None = None,
            cc: str | Sequence[str] | None = (),
            bcc: str | Sequence[str] | None = (),
            reply_to: str | Sequence[str] | None = None,
            subject: str = "",
            text: str | Path | None = None,
            html: str | Path | None = None,
            attachments: Sequence[Attachment] = (),
            headers: Mapping[str, str] = ...,
            return_path: str | None = None,
            sender: str | None = None,
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _check(cls, data: object) -> object:
        given = _Given("Message", data, (*cls.model_fields, "from"))
        if given.has("from") and given.has("from_"):
            given.fault("from is given twice.")
        given.rename("from", "from_")
        given.checked("from_", _optional(checks.mailbox_value, "from"))
        given.checked("to", partial(checks.mailbox_list, "to"))
        given.checked("cc", partial(checks.mailbox_list, "cc", literal=True))
        given.checked("bcc", partial(checks.mailbox_list, "bcc", literal=True))
        given.checked("reply_to", _joined_reply_to)
        given.checked("sender", _optional(checks.literal_mailbox, "sender"))
        given.checked("return_path", _optional(checks.path_value, "return_path"))
        if given.has("subject"):
            given.checked("subject", partial(checks.line_value, "subject"))
        given.checked("text", partial(checks.body_value, "text"))
        given.checked("html", partial(checks.body_value, "html"))
        given.checked("attachments", _attachments)
        given.checked("headers", _headers)
        if not given.has("text") and not given.has("html"):
            given.fault("Give text or html (or both): a mail needs a content.")
        return given.values()

    def replace(self, **changes: object) -> Self:
        """The same message but for these fields, checked again."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        if "from" in changes:
            fields.pop("from_")
        return self.model_validate({**fields, **changes})

    def with_default_from(self, default: str | None) -> Self:
        """This message, sent by `default` (the setting `default_from`) if it names no sender itself."""
        return self if self.from_ is not None or default is None else self.replace(from_=default)

    def receivers(self) -> tuple[Mailbox, ...]:
        """Whom To, Cc and Bcc name, each once: the envelopes of a literal message. Raises InputError for templates."""
        found: dict[str, Mailbox] = {}
        try:
            for name, lines in (("to", self.to), ("cc", self.cc), ("bcc", self.bcc)):
                for box in checks.boxes(name, lines):
                    found.setdefault(identity(box.address), box)
        except Fault as fault:
            raise _error([fault]) from None
        return tuple(found.values())


def to_spec(message: Message, *, kind: Literal["template", "literal"]) -> tuple[Spec, dict[str, bytes]]:
    """The spec of all mails of this message, and its attachments' contents by SHA-256 (hex). Raises InputError.

    "template": every text is compiled once, so that a bad one is told here. "literal": no text is ever code.
    """
    if message.from_ is None:
        raise InputError('No sender: give from_="Acme <billing@acme.example>" or set default_from.', code=_BAD)
    refs, blobs = _stored(message.attachments)
    html, text = message.html, message.text
    if text is None and html is not None:
        from mailspool.content.textpart import text_of  # loads lxml at its first use

        text = text_of(html, template=kind == "template")
    elif text == "" and html is not None:
        text = None
    spec = Spec(
        v=RECORD_VERSION,
        kind=kind,
        from_=message.from_,
        to=", ".join(message.to) or None,
        cc=", ".join(message.cc) or None,
        reply_to=message.reply_to,
        sender=message.sender,
        return_path=message.return_path,
        subject=message.subject,
        text=text,
        html=html,
        headers=tuple(_headers(message.headers).items()),  # again: a dict can be changed behind our back
        attachments=refs,
    )
    if kind == "template":
        from mailspool.content.render import Templates, fields_of  # loads jinja2, which a literal message does not need

        Templates(fields_of(spec))
    else:
        _check_literal(message)
    return spec, blobs


def _stored(attachments: Sequence[Attachment]) -> tuple[tuple[AttachmentRef, ...], dict[str, bytes]]:
    refs, blobs = [], {}
    for item in attachments:
        data = item.content()
        sha = hashlib.sha256(data).hexdigest()
        blobs[sha] = data
        refs.append(AttachmentRef(sha, item.name, item.type, len(data), item.inline, item.cid))
    return tuple(refs), blobs


def _check_literal(message: Message) -> None:
    """Addresses that looked like templates are what they are now."""
    given = _Given("Message", {"from": message.from_, "to": message.to, "reply_to": message.reply_to}, _ADDRESSED)
    given.checked("from", partial(checks.literal_mailbox, "from"))
    given.checked("to", partial(checks.mailbox_list, "to", literal=True))
    given.checked("reply_to", partial(checks.mailbox_list, "reply_to", literal=True))
    given.values()


class _Given:
    """The fields that somebody gave, and what is wrong with them: all of it is told at once."""

    def __init__(self, owner: str, data: object, known: Sequence[str]) -> None:
        if not isinstance(data, Mapping):
            raise InputError(f"{owner} is made of named fields, not of {type(data).__name__}.", code=_BAD)
        self._fields: dict[str, object] = {str(name): value for name, value in data.items()}
        self._faults = [Fault(checks.unknown_field(n, known, owner)) for n in self._fields if n not in known]
        self._checked: dict[str, object] = {}

    def has(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def rename(self, old: str, new: str) -> None:
        if old in self._fields:
            self._fields[new] = self._fields.pop(old)

    def fault(self, sentence: str) -> None:
        self._faults.append(Fault(sentence))

    def checked(self, name: str, check: Callable[[object], _T]) -> _T | None:
        """The checked value, kept for `values`; None (and a fault noted) if it is wrong."""
        try:
            value = check(self._fields.get(name))
        except Fault as fault:
            self._faults.append(fault)
            return None
        except InputError as error:
            self._faults.extend(Fault(sentence) for sentence in error.problems or (error.message,))
            return None
        self._checked[name] = value
        return value

    def values(self) -> dict[str, object]:
        if self._faults:
            raise _error(self._faults)
        return self._checked


def _optional(check: Callable[[str, object], str], label: str) -> Callable[[object], str | None]:
    return lambda value: None if value is None else check(label, value)


def _joined_reply_to(value: object) -> str | None:
    return ", ".join(checks.mailbox_list("reply_to", value)) or None


def _headers(value: object) -> dict[str, str]:
    try:
        return checks.header_map({} if value is None else value)
    except Fault as fault:
        raise _error([fault]) from None


def _attachments(value: object) -> tuple[Attachment, ...]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise Fault(f"attachments must be a list of Attachment, not {type(value).__name__}.")
    found = []
    for item in value:
        if not isinstance(item, Attachment | Mapping):
            raise Fault(f"attachments must hold Attachment(...), not {type(item).__name__}.")
        found.append(item if isinstance(item, Attachment) else Attachment.model_validate(item))
    return tuple(found)


def _error(faults: Sequence[Fault]) -> InputError:
    sentences = [fault.sentence for fault in faults]
    exit_code = next((fault.exit_code for fault in faults if fault.exit_code), None)
    code = "no_file" if exit_code else _BAD
    return InputError(" ".join(sentences), problems=sentences, code=code, exit_code=exit_code)


@contextmanager
def _in_sentences() -> Iterator[None]:
    """pydantic's ValidationError as an InputError."""
    try:
        yield
    except ValidationError as error:
        raise _converted(error) from None


def _converted(error: ValidationError) -> InputError:
    sentences = []
    for problem in error.errors(include_url=False, include_input=False):
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, InputError):
            return cause
        sentences.append(f"{'.'.join(map(str, problem['loc'])) or 'message'}: {problem['msg']}.")
    return InputError(" ".join(sentences), problems=sentences, code=_BAD)
