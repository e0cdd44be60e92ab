"""BATCH as people type it, and what they are offered where nothing has that name."""

from __future__ import annotations

import pytest

from tests.producer.cli.commands import Here

COMMANDS = (
    ["status"], ["show"], ["watch"], ["retry"], ["hold"], ["release"], ["cancel"], ["worker", "--until-done"],
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command[0]))
def test_the_beginning_of_a_key_is_no_reference(here: Here, command: list[str]) -> None:
    batch = here.send("--to", "a@x.org", "--key", "Invoices-2026-11").out.strip()
    relay = {"MAILSPOOL_RELAY_URL": "smtp://127.0.0.1:1"}
    for ref in ("inv", "key:inv", "Invoices-2026-11"):
        ran = here.run(*command, ref, "--json", env=relay)
        assert (ran.code, ran.out) == (66, "")
        assert str(ran.error()["message"]).endswith(" Did you mean key:Invoices-2026-11?")
        assert ran.error()["code"] == "no_such_batch"
    assert here.run("status", "key:Invoices-2026-11", "--json").json()["id"] == batch


def test_a_message_of_a_key(here: Here) -> None:
    here.send("--to", "a@x.org", "--key", "invoices")
    assert "Did you mean key:invoices?" in here.run("show", "inv-1").err
    assert here.run("show", "key:invoices").code == 0
    assert here.run("show", "key:invoices-1", "--json").json()["row"] == 1
    assert here.run("why", "key:invoices-1", "--json").json()["kind"] == "message"
    assert here.run("show", "key:invoices-9").code == 66
    assert 'no batch with the key "voices-1"' in here.run("show", "key:voices-1").err
    longer = here.send("--to", "a@x.org", "--key", "invoices-1").out.strip()
    assert here.run("show", "key:invoices-1", "--json").json()["id"] == f"{longer}-1", "the longest key that exists"
    assert here.run("why", "key:invoices-1", "--json").json()["about"] == longer
    assert here.run("show", "key:invoices-1-1", "--json").json()["batch"] == longer


def test_a_name_and_keys_that_nobody_typed(here: Here) -> None:
    named = here.send("--to", "a@x.org", "--name", "newsletter").out.strip()
    ran = here.run("status", "news")
    assert f"Did you mean {named} (newsletter)?" in ran.err
    for ref in ("once", "content", "key:once", "key:", "zebra"):
        assert "Did you mean" not in here.run("status", ref).err


def test_last_misspelt(here: Here) -> None:
    here.send("--to", "a@x.org")
    assert here.run("status", "lst").err.endswith(" Did you mean last?\n")


def test_a_few_are_offered(here: Here) -> None:
    for number in range(5):
        here.send("--to", "a@x.org", "--key", f"inv-{number}")
    assert "Did you mean key:inv-4 or key:inv-3 or key:inv-2?" in here.run("status", "inv").err
