"""What `from mailspool import ...` offers: every name, its home, its family, and what it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from datetime import timedelta
from typing import get_args, get_type_hints

import pytest

import mailspool
from mailspool import errors
from mailspool.contract.states import BatchState
from tests.support.embedded import REPOSITORY

PUBLIC = {
    "Attachment", "Batch", "BatchStatus", "Class", "ConfigError", "Conversation", "InputError", "KeyConflict",
    "MailspoolError", "Message", "MessageStatus", "NotFound", "OnUncertain", "RelayStatus", "Settings", "Spool",
    "SpoolFull", "SpoolStatus", "SpoolUnavailable", "SpoolUnsafe", "State", "SyncBatch", "SyncSpool", "WaitTimeout",
    "Why", "__version__",
}  # fmt: skip
HEAVY = {"redis", "pydantic", "arq", "jinja2", "aiosmtplib", "asyncio", "msgspec", "email"}


def test_the_names() -> None:
    assert set(mailspool.__all__) == PUBLIC
    assert set(dir(mailspool)) >= PUBLIC
    for name in PUBLIC:
        assert getattr(mailspool, name) is not None, name
    with pytest.raises(AttributeError, match=r"module 'mailspool' has no attribute 'Spoool'"):
        _ = mailspool.Spoool


def test_a_star_import_gives_them_all() -> None:
    code = f"from mailspool import *; print(sorted(set({sorted(PUBLIC)!r}) - set(globals())))"
    assert fresh(code) == "[]"


def test_importing_is_light() -> None:
    assert fresh(f"import sys, mailspool; print(sorted(sys.modules.keys() & set({sorted(HEAVY)!r})))") == "[]"
    light = "from mailspool import InputError, Class, State; import sys; print('redis' in sys.modules)"
    assert fresh(light) == "False"


def fresh(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY / "producer", capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_words_are_literals() -> None:
    assert get_args(mailspool.Class) == ("transactional", "bulk")
    assert get_args(mailspool.OnUncertain) == ("resend", "hold")
    assert len(get_args(mailspool.State)) == 8
    assert get_args(BatchState) == ("loading", "scheduled", "active", "held", "done", "cancelled")


FAMILY = {
    "InputError": (ValueError, "bad_input", 65),
    "KeyConflict": (ValueError, "key_conflict", 65),
    "NotFound": (LookupError, "not_found", 66),
    "WaitTimeout": (TimeoutError, "timeout", 75),
    "SpoolUnavailable": (ConnectionError, "spool_unavailable", 69),
    "SpoolFull": (Exception, "spool_full", 73),
    "SpoolUnsafe": (Exception, "spool_unsafe", 78),
    "ConfigError": (ValueError, "bad_setting", 78),
}


@pytest.mark.parametrize("name", FAMILY)
def test_an_error_says_what_it_spoils(name: str) -> None:
    also, code, exit_code = FAMILY[name]
    kind = getattr(mailspool, name)
    error = kind("words", status=None) if name == "WaitTimeout" else kind("words", hint="do this")
    assert isinstance(error, errors.MailspoolError)
    assert isinstance(error, also)
    assert (error.code, error.exit_code, str(error)) == (code, exit_code, "words")
    assert error.hint == ("" if name == "WaitTimeout" else "do this")


def test_the_signatures_of_the_interface() -> None:
    send = inspect.signature(mailspool.Spool.send).parameters
    batch = inspect.signature(mailspool.Spool.send_batch).parameters
    common = ["key", "name", "send_at", "expires_after", "expires_at", "on_uncertain", "relay", "hold"]
    assert list(send) == ["self", "message", "to", "values", "class_", *common]
    own = ["on_bad_row", "duplicates", "row_key"]
    assert list(batch) == ["self", "template", "rows", "class_", *own, *common, "list_options", "rejects"]
    assert (send["class_"].default, batch["class_"].default) == ("transactional", "bulk")
    assert (batch["on_bad_row"].default, batch["duplicates"].default) == ("refuse", "refuse")
    for parameters in (send, batch):
        keyword_only = [name for name, given in parameters.items() if given.kind is given.KEYWORD_ONLY]
        assert keyword_only == list(parameters)[(2 if parameters is send else 3) :]
        assert [parameters[name].default for name in common] == [None] * 7 + [False]
    for name in ("send", "send_batch", "check", "batch", "batches", "status", "lifespan"):
        assert get_type_hints(getattr(mailspool.Spool, name))["return"] is not None
    assert get_type_hints(mailspool.Spool.send)["expires_after"] == timedelta | None
    wait = inspect.signature(mailspool.Batch.wait).parameters["timeout"]
    assert (wait.default, wait.kind) == (None, wait.POSITIONAL_OR_KEYWORD)
    assert list(inspect.signature(mailspool.Batch.messages).parameters) == [
        "self", "state", "recipient", "domain", "reply"
    ]  # fmt: skip
    assert inspect.signature(mailspool.Batch.retry).parameters["state"].default == "deferred"
