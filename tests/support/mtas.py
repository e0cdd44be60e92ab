"""Other people's receivers: smtp-sink, and a Postfix of its own that takes mail over SMTP and throws it away.

Each is started on a free port of loopback and ended at the end of its `with`. Both say by themselves what they got: the
sink by its counters, Postfix by its log. `missing_*` say in words why one cannot run here.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.embedded import eventually
from tests.support.ports import free_port

_PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
_SERVICES = """\
{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_SETTINGS = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = postfix.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject
default_transport = {transport}
relay_transport = {transport}
"""
_DELIVERED = re.compile(r"postfix/discard\[\d+\]: [0-9A-Za-z]+: to=<([^>]+)>,.* status=sent ")


def _tool(name: str) -> str | None:
    return shutil.which(name, path=_PATH)


def missing_sink() -> str:
    return "" if _tool("smtp-sink") else "Postfix's smtp-sink is not installed (Debian, Ubuntu: apt install postfix)"


def missing_postfix() -> str:
    if _tool("postfix") is None:
        return "Postfix is not installed (Debian, Ubuntu: apt install postfix)"
    return "" if os.geteuid() == 0 else "Postfix starts as root only"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Sink:
    """A running smtp-sink."""

    def __init__(self, port: int, counters: Path) -> None:
        self.url = f"smtp://127.0.0.1:{port}"
        self._counters = counters

    def received(self) -> int:
        """By its own counters: `sess=... quit=... mesg=...`, written over and over."""
        found = re.findall(r"mesg=(\d+)", self._counters.read_text("ascii", "replace"))
        return int(found[-1]) if found else 0


@contextmanager
def smtp_sink(folder: Path) -> Iterator[Sink]:
    tool, port, counters = _tool("smtp-sink"), free_port(), folder / "sink.out"
    assert tool is not None
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    with counters.open("wb") as out:
        process = subprocess.Popen([tool, "-c", *user, f"127.0.0.1:{port}", "1000"], stdout=out, stderr=out)
    try:
        eventually(lambda: listens(port), "smtp-sink listens")
        yield Sink(port, counters)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


class Postfix:
    """A running instance."""

    def __init__(self, port: int, folder: Path) -> None:
        self.url = f"smtp://127.0.0.1:{port}"
        self._log = folder / "log"

    def delivered(self) -> Counter[str]:
        """How often it threw a mail to each recipient away, by its log."""
        return Counter(_DELIVERED.findall(self._log.read_text("utf-8", "replace")))


@contextmanager
def postfix(transport: str = "discard:") -> Iterator[Postfix]:
    """`transport`: where its mail goes. In a folder of its own under /tmp: its daemons are another user, whom pytest's
    folders keep out."""
    tool, port = _tool("postfix"), free_port()
    assert tool is not None
    folder = Path(tempfile.mkdtemp(prefix="mailspool-postfix-"))
    try:
        folder.chmod(0o755)
        (folder / "queue").mkdir(mode=0o755)
        (folder / "data").mkdir(mode=0o700)
        shutil.chown(folder / "data", "postfix")
        (folder / "main.cf").write_text(_SETTINGS.format(folder=folder, transport=transport))
        (folder / "master.cf").write_text(_SERVICES.format(port=f"127.0.0.1:{port}"))
        _run(tool, folder, "start")
        try:
            eventually(lambda: listens(port), "Postfix listens")
            yield Postfix(port, folder)
        finally:
            _run(tool, folder, "stop")
    finally:
        shutil.rmtree(folder)


def _run(tool: str, folder: Path, command: str) -> None:
    """To files, not pipes: its daemons keep what they were given."""
    with (folder / "words").open("ab") as words:
        done = subprocess.run([tool, "-c", folder, command], stdout=words, stderr=words, stdin=subprocess.DEVNULL)
    log = folder / "log"
    told = (folder / "words").read_text("utf-8", "replace") + (
        log.read_text("utf-8", "replace") if log.exists() else ""
    )
    assert done.returncode == 0, f"postfix {command}: {told[-2000:]}"
