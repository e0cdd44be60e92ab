"""`diagnose`: each thing that can be wrong is a check with a way out; nothing is sent, no secret is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailspool import Message, Settings, Spool
from mailspool.client.doctor import Check, diagnose
from mailspool.client.doctor.around import judge_ehlo
from mailspool.client.doctor.relays import judge_probe, opening_ms, round_trip_ms
from mailspool.client.doctor.report import failed
from mailspool.client.doctor.spool import of_clock, of_disk, of_memory, of_pause, of_server
from mailspool.probe import ProbeReport, ProbeStep, ProbeTls
from mailspool.redis_server.safety import facts_from
from mailspool.sandbox import Receiver, ReceiverOptions
from mailspool.settings import Relay, relay_from_url
from tests.producer.client.conftest import SAFE
from tests.support.embedded import plain_server
from tests.support.hand import Hand

GIB = 1 << 30
NOW = datetime(2026, 11, 23, tzinfo=UTC)
RELAY = relay_from_url("smtps://mail.acme.example")


async def checks(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in (await diagnose(settings)).checks}


async def test_a_spool_with_a_worker_and_a_relay(spool: Spool, hand: Hand) -> None:
    await hand.beat()
    async with Receiver() as receiver:
        report = await diagnose(spool.settings.model_copy(update={"relay_url": receiver.url, "ehlo_name": "localhost"}))
        assert receiver.received == 0
        assert not [record for record in receiver.log if record.stage in ("mail", "rcpt")]
    levels = {check.name: check.level for check in report.checks}
    assert report.ok
    assert levels == dict.fromkeys(
        ("spool", "persistence", "eviction", "memory", "disk", "clock", "worker", "records", "relay main", "ehlo name",
         "settings"), "ok",
    )  # fmt: skip
    assert report.to_dict()["checks"][0] == {  # type: ignore[index] # a list
        "name": "spool", "ok": True, "detail": report.checks[0].detail, "fix": None,
    }  # fmt: skip


async def test_nobody_works_and_nothing_is_set(settings: Settings) -> None:
    found = await checks(settings)
    assert (found["worker"].level, found["worker"].fix) == ("FAIL", "mailspool worker")
    assert found["relay"].level == "FAIL"
    assert str(found["relay"].fix).startswith("Set MAILSPOOL_RELAY_URL=")
    assert "ehlo name" not in found


async def test_a_machine_that_only_queues_needs_no_relay(spool: Spool, hand: Hand) -> None:
    await hand.beat()
    found = await checks(spool.settings)
    assert found["relay"] == Check("relay", True, "none in these settings; the workers have main")
    strange = await checks(spool.settings.model_copy(update={"relay_url": "smtp://127.0.0.1:1"}))
    assert "relays" not in strange
    hand.relays = ("other",)
    await hand.beat()
    strange = await checks(spool.settings.model_copy(update={"relay_url": "smtp://127.0.0.1:1"}))
    assert strange["relays"].level == "warn"
    assert strange["relay main"].level == "FAIL"
    assert "connection refused" in strange["relay main"].detail


async def test_what_the_workers_say(spool: Spool, hand: Hand) -> None:
    connection = await spool.connection()
    await spool.send(Message(from_="a@x.test", to="b@x.test", subject="x", text="x"))
    await hand.moves.beat("old", {"versions": "0", "relays": "main", "slots:transactional": 1, "slots:bulk": 1})
    await connection.command("HSET", connection.keys.route("main"), "state", "paused", "why", "535 5.7.8 no")
    await hand.moves.pause("bulk")
    found = await checks(spool.settings)
    assert found["records"] == Check(
        "records", False, "no worker reads format 1; they read 0", "upgrade the workers to this release"
    )
    assert found["route main"] == Check("route main", False, "paused: 535 5.7.8 no", "mailspool probe main")
    assert (found["paused"].level, found["paused"].detail) == ("warn", "bulk mail is paused")
    await hand.beat()
    assert (await checks(spool.settings))["records"].level == "warn", "one of two"


async def test_workers_of_another_class_alone(spool: Spool, hand: Hand) -> None:
    await hand.moves.beat("bulky", {"versions": "1", "relays": "main", "slots:transactional": 0, "slots:bulk": 1})
    idle = (await checks(spool.settings))["worker"]
    assert (idle.level, idle.fix) == ("warn", "mailspool worker --class transactional")
    assert idle.detail.endswith(", none for transactional mail")
    await spool.send(Message(from_="a@x.test", to="b@x.test", subject="x", text="x"))
    found = (await checks(spool.settings))["worker"]
    assert (found.level, found.fix) == ("FAIL", "mailspool worker --class transactional")
    assert found.detail.endswith(", none for transactional mail (1 transactional waiting)")
    why = await spool.why()
    assert str(why) == "No worker is running for transactional mail, so none of it leaves."
    assert (why.do, why.causes[0].mails) == (("mailspool worker --class transactional",), 1)


async def test_a_login_that_is_refused_and_its_secret(settings: Settings) -> None:
    options = ReceiverOptions(user="me", password="swordfish")
    async with Receiver(options=options) as receiver:
        host = receiver.url.removeprefix("smtp://")
        url = f"smtp://me:not-swordfish@{host}?tls=off"
        report = await diagnose(settings.model_copy(update={"relay_url": url}))
    (relay,) = [check for check in report.checks if check.name == "relay main"]
    assert (relay.level, relay.fix) == ("FAIL", "mailspool probe main")
    assert "Login refused" in relay.detail
    assert "swordfish" not in str(report.to_dict())


async def test_every_fault_of_a_server_at_once(home: Path) -> None:
    flags = ("--appendonly", "no", "--save", "", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with plain_server(home / "plain", *flags) as server:
        found = await checks(Settings(redis_url=f"unix://{server}"))
    assert {name for name, check in found.items() if not check.ok} >= {"persistence", "eviction", "worker"}
    assert found["spool"].ok
    assert str(found["eviction"].fix).startswith("CONFIG SET maxmemory-policy noeviction")
    assert "left for new batches" in found["memory"].detail
    assert "disk" not in found


async def test_a_server_that_is_away(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailspool.redis_server.link.OPEN_LIMIT_S", 0.3)
    with plain_server(home / "plain", *SAFE) as server:
        url = f"unix://{server}"
    found = await checks(Settings(redis_url=url))
    assert not found["spool"].ok
    assert "does not answer" in found["spool"].detail
    assert "clock" not in found


def test_servers() -> None:
    facts = facts_from(
        {"redis_version": "5.0.1", "cluster_enabled": "1", "maxmemory_policy": "allkeys-lru", "aof_enabled": "1"},
        {"appendfsync": "no"},
    )
    found = of_server(facts, "auto", name="redis://queue", embedded=False)
    assert [check.ok for check in found] == [False, False, False]
    none = facts_from({"redis_version": "7.2.1"}, {"appendfsync": "no"})
    told = of_server(none, "none", name="redis://queue", embedded=False)
    assert [check.level for check in told] == ["ok", "warn", "ok"]


@pytest.mark.parametrize(
    ("used", "limit", "machine", "level"),
    [
        (1, 0, 10, "ok"),
        (9, 0, 10, "warn"),
        (9, 0, 0, "ok"),
        (1, 10, 0, "ok"),
        (8.5, 10, 0, "warn"),
        (9.5, 10, 0, "FAIL"),
    ],
)
def test_memory(used: float, limit: int, machine: int, level: str) -> None:
    facts = facts_from({"used_memory": str(round(used * GIB)), "maxmemory": str(limit * GIB)}, {})
    check = of_memory(facts, 0.1, machine * GIB)
    assert check.level == level, check
    assert (check.fix is None) == (level == "ok")


@pytest.mark.parametrize(("free", "level"), [(100, "ok"), (9, "warn"), (4, "FAIL")])
def test_disk(free: int, level: str) -> None:
    assert of_disk(free * GIB, 100 * GIB).level == level


@pytest.mark.parametrize(
    ("offset_s", "detail"),
    [
        (0.2, "0.2 s from Redis"),
        (-1.9, "1.9 s from Redis"),
        (60, "60.0 s ahead of Redis"),
        (-60, "60.0 s behind Redis"),
    ],
)
def test_clock(offset_s: float, detail: str) -> None:
    check = of_clock(offset_s)
    assert (check.detail, check.level) == (detail, "ok" if abs(offset_s) < 2 else "warn")


@pytest.mark.parametrize(
    ("name", "local", "resolves", "level"),
    [
        ("mail.acme.example", False, True, "ok"),
        ("mail.acme.example", False, False, "warn"),
        ("[203.0.113.7]", False, False, "warn"),
        ("[203.0.113.7]", True, True, "ok"),
        ("laptop", False, True, "warn"),
        ("a.localhost", False, True, "warn"),
    ],
)
def test_ehlo(name: str, local: bool, resolves: bool, level: str) -> None:
    assert judge_ehlo(name, local=local, resolves=resolves).level == level


def probed(relay: Relay = RELAY, *, ends: str | None = "2027-02-11", verified: bool = True, code: int = 0) -> Check:
    steps = (
        ProbeStep(0, "-", "connect"),
        ProbeStep(40, "<", "220 hello"),
        ProbeStep(41, ">", "EHLO me"),
        ProbeStep(79, "<", "250-PIPELINING"),
        ProbeStep(79, "<", "250 SIZE"),
        ProbeStep(90, ">", "AUTH PLAIN ****"),
        ProbeStep(190, "<", "235 ok"),
        ProbeStep(191, ">", "QUIT"),
        ProbeStep(999, "<", "221 bye"),
    )
    tls = ProbeTls("TLS 1.3", verified, f"{ends}T00:00:00Z" if ends else None)
    report = ProbeReport(steps, tls, "ok", None, ("PIPELINING",), "Ready.", code)
    assert round_trip_ms(report) == 38
    assert opening_ms(report) == 190
    return judge_probe(relay, report, NOW)


def test_probes() -> None:
    assert probed() == Check(
        "relay main", True, "TLS 1.3, login ok, PIPELINING, certificate until 2027-02-11, 250 in 38 ms"
    )
    assert probed(ends="2026-12-01").fix == "the certificate of mail.acme.example ends in 8 days: have it renewed"
    assert probed(ends=None, verified=False).level == "warn"
    assert probed(code=69).level == "FAIL"


def test_pauses() -> None:
    fixes = [check.fix for what in ("spool", "bulk", "relay:main", "relay:", "?") for check in of_pause(what)]
    assert fixes == ["mailspool resume", "mailspool resume --class bulk", "mailspool relay resume main"]


def test_sentences() -> None:
    assert failed("x", "It is broken. Mend it.") == [Check("x", False, "It is broken", "Mend it")]
    assert failed("x", "It is broken.", "hint") == [Check("x", False, "It is broken", "hint")]
    assert failed("x", "It is broken", fix="do") == [Check("x", False, "It is broken", "do")]
