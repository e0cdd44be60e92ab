"""A receiver in a process of its own, and Postfix's load generator against it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from mailspool.sandbox import read_log

SMTP_SOURCE = shutil.which("smtp-source", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
PRODUCER = Path(__file__).parents[3] / "producer"


@contextmanager
def receiver_process(**options: object) -> Iterator[str]:
    """host:port of a running receiver."""
    command = [sys.executable, "-m", "mailspool.sandbox", msgspec.json.encode(options).decode()]
    with subprocess.Popen(command, cwd=PRODUCER, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip().removeprefix("smtp://")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
            assert process.stdout.read() == "", "it prints nothing but its URL"
        finally:
            process.kill()


@pytest.mark.skipif(SMTP_SOURCE is None, reason="Postfix's smtp-source is not installed")
def test_postfix_can_send_to_it(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with receiver_process(log=str(log), keep=str(tmp_path / "kept")) as address:
        assert SMTP_SOURCE is not None
        options = ["-d", "-s", "5", "-l", "4096", "-m", "200", "-N", "-f", "a@b.test", "-t", "c@d.test"]
        subprocess.run([SMTP_SOURCE, *options, address], check=True, timeout=30)
    dots = [record for record in read_log(log) if record.stage == "dot"]
    assert len(dots) == 200
    assert len({record.recipient for record in dots}) == 200
    assert all(record.reply_flushed and record.reply.startswith("250 ") for record in dots)
    assert len(list((tmp_path / "kept").glob("*.eml"))) == 200


@pytest.mark.parametrize(
    "argument", ["[]", "{", '{"port": "x"}', '{"colour": 1}', '{"user": "a"}', '{"keep": 3}', '{"user": 1}']
)
def test_bad_options_are_refused_in_words(argument: str) -> None:
    command = [sys.executable, "-m", "mailspool.sandbox", argument]
    done = subprocess.run(command, cwd=PRODUCER, capture_output=True, text=True, timeout=20)
    assert done.returncode == 78
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_the_sandbox_needs_neither_the_worker_nor_redis() -> None:
    program = "import sys, mailspool.sandbox, mailspool.sandbox.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=PRODUCER, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"redis", "arq", "mailspool_worker", "aiosmtplib", "pydantic", "jinja2"}
