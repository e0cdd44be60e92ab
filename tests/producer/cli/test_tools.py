"""The commands beside the mail: sandbox, probe, settings, server; and readers that go away."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import socket
import subprocess
from collections.abc import Callable
from dataclasses import fields
from unittest.mock import AsyncMock

import pytest

from mailspool.cli.sandbox import Taken
from mailspool.cli.server import ServerStatus
from mailspool.sandbox import ReceivedMail, Receiver, ReceiverOptions, serve
from mailspool.settings import Settings
from mailspool.spool import Spool
from mailspool.status import RouteStatus, SpoolStatus
from tests.producer.cli.commands import Cli, Here
from tests.support.embedded import eventually, kill_server, servers_below

MAIL = "From: me@x.org\r\nTo: a@x.org\r\nSubject: =?utf-8?b?2LPZhNin2YU=?=\r\n\r\nhello\r\n"


def test_sandbox(cli: Cli) -> None:
    running = cli.start("sandbox", "--listen", "127.0.0.1:0", "--keep", "kept")
    running.until("slow-30s")
    port = int(running.err.partition("127.0.0.1:")[2].split(";")[0].split()[0])
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("me@x.org", ["a@x.org", "b@x.org"], MAIL.encode())
    running.until("a@x.org, b@x.org   سلام   ")
    running.signal()
    ran = running.end()
    assert ran.code == 130
    assert ran.out.splitlines()[0].endswith(" bytes, 1 part")
    assert "listening on smtp://127.0.0.1:" in ran.err
    assert "mail is kept in kept" in ran.err
    assert "CODE[-E.E.E][-N]-x" in ran.err
    assert len(list((cli.folder / "kept").glob("*.eml"))) == 1


def test_sandbox_without_flags(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C once it listens. The port that it asks for may be taken on this machine: it is given a free one."""
    asked: list[tuple[str, int]] = []

    async def elsewhere(
        options: ReceiverOptions,
        show: Callable[[ReceivedMail], None],
        *,
        host: str,
        port: int,
        on_ready: Callable[[Receiver], None],
    ) -> None:
        def ready(receiver: Receiver) -> None:
            on_ready(receiver)
            os.kill(os.getpid(), signal.SIGINT)

        asked.append((host, port))
        await serve(options, show, host=host, port=0, on_ready=ready)

    monkeypatch.setattr("mailspool.sandbox.serve", elsewhere)
    ran = here.run("sandbox")
    assert asked == [("127.0.0.1", 2525)]
    assert (ran.code, ran.out) == (130, "")
    first, second, speed, third, *table = ran.err.splitlines()
    url = first.removeprefix("listening on ").partition(";")[0]
    assert url.startswith("smtp://127.0.0.1:")
    assert first.endswith("; mail is shown and forgotten (--keep DIR keeps it)")
    assert second == f"send to it:   MAILSPOOL_RELAY_URL={url} mailspool send ... --deliver"
    assert speed.endswith("what you see is its speed, not Mailspool's")
    assert third.startswith("it takes every mail; these local parts make it misbehave")
    assert table[-1] == "Stopped."


def test_sandbox_for_programs(cli: Cli) -> None:
    with cli.receiver() as receiver:
        port = int(cli.environment["MAILSPOOL_RELAY_URL"].rpartition(":")[2])
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("me@x.org", ["a@x.org"], MAIL.encode())
        receiver.until("سلام")
        taken = json.loads(receiver.out)
    assert set(taken) == {field.name for field in fields(Taken)}
    assert (taken["recipients"], taken["mail_from"], taken["parts"]) == (["a@x.org"], "me@x.org", 1)


def test_a_port_that_is_taken(here: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = here.run("sandbox", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert (ran.code, ran.out) == (78, "")
    assert "Choose another address or port." in ran.err


def test_probe(here: Here) -> None:
    with here.receiver():
        for target in ([], ["main"], [os.environ["MAILSPOOL_RELAY_URL"]]):
            ran = here.run("probe", *target)
            assert (ran.code, ran.err) == (0, "")
            assert ran.out.splitlines()[-1] == "Ready: no TLS, no login, up to 25 MiB a mail."
        refused = here.run("probe", "--to", "550-x@x.org")
        sent = here.run("probe", "--to", "a@x.org", "--send")
        assert here.run("probe", "mian").code == 78
    assert refused.code == 69
    assert refused.out.splitlines()[-1].startswith("The receiver 550-x@x.org is refused: 550")
    assert sent.out.splitlines()[-1].startswith("Sent: 250")
    assert here.run("probe", "--send").code == 2


def test_settings(here: Here) -> None:
    here.write("mailspool.toml", 'relay_url = "smtp://me@mail.acme.example"\nrelay_password = "secret"\n')
    (here.folder / "mailspool.toml").chmod(0o600)
    lines = here.run("settings", "--json").lines()
    found = {line["name"]: line for line in lines}
    assert next(iter(found)) == "redis_url"
    assert set(found) == set(Settings.model_fields)
    assert set(lines[0]) == {"name", "value", "origin", "default", "reason"}
    assert found["relay_password"]["value"] != "secret"
    assert found["relay_url"]["origin"] == "mailspool.toml line 1"
    shown = here.run("settings", "--changed", env={"MAILSPOOL_RELAI_URL": "x"})
    names = [line.split()[0] for line in shown.out.splitlines()]
    assert names == ["NAME", "data_dir", "relay_url", "relay_password", "ehlo_name"]
    assert "secret" not in shown.out
    assert "! MAILSPOOL_RELAI_URL is no setting. Did you mean MAILSPOOL_RELAY_URL?" in shown.err
    assert f"settings file: {here.folder}/mailspool.toml" in shown.err


def test_a_misspelt_redis_url_is_told_where_mail_is_queued_or_looked_for(here: Here) -> None:
    env = {"MAILSPOOL_REDIS_URI": "redis://mail.acme.example"}
    told = "! MAILSPOOL_REDIS_URI is no setting. Did you mean MAILSPOOL_REDIS_URL?\n"
    assert told in here.send("--to", "a@x.org", env=env).err
    for command in ("status", "why"):
        assert told in here.run(command, env=env).err


def test_warnings_of_settings_are_told_once(here: Here) -> None:
    ran = here.run("status", "--json", env={"MAILSPOOL_RELAY_PASSWORD": "x"})
    assert ran.notices() == ["settings"]


def test_server(cli: Cli) -> None:
    """One whose users were killed stays; `stop` ends it, and every other command would, too."""
    assert cli.run("server", "status").out == f"{cli.data_dir}: not running (the next command starts it)\n"
    assert not cli.data_dir.exists()
    cli.send("--to", "a@x.org")
    watching = cli.start("watch", "last", "--json")
    watching.until("queued")
    running = cli.run("server", "status", "--json").json()
    assert set(running) == {field.name for field in fields(ServerStatus)}
    assert (running["running"], running["in_use"], running["fsync"]) == (True, True, "always")
    refused = cli.run("server", "stop")
    assert (refused.code, refused.out) == (75, "")
    assert "is in use: it stops when the last command or worker that uses it ends." in refused.err
    watching.signal(signal.SIGKILL)
    watching.process.wait()
    assert "used by nobody: mailspool server stop" in cli.run("server", "status").out
    assert servers_below(cli.data_dir) == [running["pid"]]
    assert cli.run("server", "stop", "--json").json()["running"] is False
    assert servers_below(cli.data_dir) == []
    assert cli.run("server", "stop").code == 0


def test_a_server_that_dies_under_a_watcher(cli: Cli) -> None:
    cli.send("--to", "a@x.org")
    watching = cli.start("watch", "last", "--json")
    watching.until("queued")
    kill_server(cli.data_dir)
    seen = watching.out.count("\n")
    eventually(lambda: watching.out.count("\n") > seen + 1, "it goes on")
    watching.signal()
    assert watching.end().code == 130


def test_a_reader_that_goes_away(cli: Cli) -> None:
    """`mailspool show last | head -1` is no error."""
    cli.write("many.csv", "email\n" + "".join(f"a{n}@x.org\n" for n in range(2000)))
    cli.send("--to", "many.csv")
    shown = subprocess.Popen(
        cli.argv("show", "last", "--json"),
        cwd=cli.folder,
        env=cli.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert shown.stdout is not None
    assert shown.stderr is not None
    shown.stdout.readline()
    shown.stdout.close()
    assert shown.stderr.read() == b""
    shown.stderr.close()
    assert shown.wait(60) == 0


def test_a_disk_that_is_full(cli: Cli) -> None:
    cli.send("--to", "a@x.org")
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            cli.argv("show", "last", "--json"), cwd=cli.folder, env=cli.environment, stdout=full, stderr=subprocess.PIPE
        )
    assert ran.returncode == 73
    assert b"there is no room left" in ran.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_cannot_write_arabic(cli: Cli, encoding: str) -> None:
    cli.send("--to", "سارا <sara@x.org>", "--name", "دعوة")
    ran = subprocess.run(
        cli.argv("status"), cwd=cli.folder, env={**cli.environment, "PYTHONIOENCODING": encoding}, capture_output=True
    )
    assert ran.returncode == 0
    assert b"\\u062f" in ran.stdout


def test_status_of_another_spool(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    from mailspool.cli import status

    service = here.folder / "service"
    service.mkdir()
    monkeypatch.setattr(status, "_OF_THE_SERVICE", service)
    assert here.run("status").err == f"there is also {service} (mailspool-worker.service)\n"
    here.send("--to", "a@x.org")
    assert "there is also" not in here.run("status").err


def test_status_of_a_relay_in_trouble(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    found = SpoolStatus("here", "fsync", 1, 1, 0, 0, None, (RouteStatus("eu", "paused", "535 no", None),), ())
    monkeypatch.setattr(Spool, "status", AsyncMock(return_value=found))
    ran = here.run("status")
    assert "relays   eu paused: 535 no\n" in ran.out
    assert ran.err == "! Nothing leaves by the relay eu.   Look:  mailspool probe eu\n"


def test_status_of_every_batch(here: Here) -> None:
    for number in range(21):
        here.send("--to", f"a{number}@x.org")
    assert len(here.batches()) == 20
    found = here.run("status", "--all", "--json").json()["batches"]
    assert isinstance(found, list)
    assert len(found) == 21
