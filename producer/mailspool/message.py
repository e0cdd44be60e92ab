"""What a person writes: Message and Attachment, their checks, and the spec that they become.

Called by scripts (through `mailspool`), by the client and the command line. Everything wrong with a message is told at
once, as InputError (`.problems` has one sentence each), also by `model_validate`. Whether a text is a template is not
known here: `send` takes a message literally, `send_batch` as a template; `to_spec` is told which.
An Attachment's `str` is the path of a local file: never validate foreign JSON as a Message without looking at it.
Known limit: files are read when the spec is made, not when the Attachment is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from email.message import Message as AnyMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mailspool.content import checks, incoming
from mailspool.content.address import Mailbox, identity
from mailspool.content.checks import Fault
from mailspool.content.digest import changed_fields as changed_fields
from mailspool.content.digest import digest as digest
from mailspool.content.render import Templates, fields_of, is_template
from mailspool.contract.records import AttachmentRef, Spec
from mailspool.contract.states import RECORD_VERSION
from mailspool.errors import InputError

_BAD = "bad_message"


@contextmanager
def _told_in_sentences() -> Generator[None]:
    """pydantic's ValidationError as our InputError."""
    try:
        yield
    except ValidationError as error:
        raise _input_error(error) from None


def _input_error(error: ValidationError) -> InputError:
    sentences = []
    for problem in error.errors(include_url=False, include_input=False):
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, InputError):
            return cause
        where = ".".join(map(str, problem["loc"])) or "message"
        sentences.append(f"{where}: {problem['msg']}.")
    return InputError(" ".join(sentences), problems=sentences, code=_BAD)


class _Checks:
    """Collects the faults of one object, so that all of them are told at once."""

    def __init__(self, owner: str, data: object, known: Sequence[str]) -> None:
        if not isinstance(data, Mapping):
            raise InputError(f"{owner} must be made of named fields, not of {type(data).__name__}.", code=_BAD)
        self._owner = owner
        self._given: dict[str, object] = {str(name): value for name, value in data.items()}
        self._faults = [Fault(checks.unknown_field(name, known, owner)) for name in self._given if name not in known]
        self.checked: dict[str, object] = {}

    def take(self, name: str, default: object = None) -> object:
        return self._given.get(name, default)

    def fault(self, sentence: str) -> None:
        self._faults.append(Fault(sentence))

    def field[T](self, name: str, check: Callable[[], T], default: T) -> T:
        """The checked value; the default, and a fault noted, if it is wrong."""
        try:
            value = check()
        except Fault as fault:
            self._faults.append(fault)
            value = default
        self.checked[name] = value
        return value

    def done(self) -> dict[str, object]:
        if self._faults:
            raise _faults_error(self._faults)
        return self.checked


def _faults_error(faults: Sequence[Fault]) -> InputError:
    sentences = [fault.sentence for fault in faults]
    code = next((fault.exit_code for fault in faults if fault.exit_code), None)
    return InputError(" ".join(sentences), problems=sentences, code="no_file" if code else _BAD, exit_code=code)
