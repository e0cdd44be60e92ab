"""`mailspool doctor`: its screen, its JSON, its exit codes."""

from __future__ import annotations

from tests.producer.cli.commands import Here


def test_the_screen(here: Here) -> None:
    with here.receiver():
        ran = here.run("doctor", env={"MAILSPOOL_RELAY_URI": "x"})
    lines = {line[6:].split("  ")[0]: line for line in ran.out.splitlines()}
    assert (ran.code, ran.err) == (1, "")
    assert lines["spool"].startswith("ok    spool        embedded Valkey ")
    assert lines["worker"] == "FAIL  worker       none running   fix: mailspool worker"
    assert lines["relay main"].startswith("ok    relay main   no TLS, no login, PIPELINING, 250 in ")
    assert lines["env"] == "warn  env          MAILSPOOL_RELAY_URI is no setting"
    advice = f"{'':19}Did you mean MAILSPOOL_RELAY_URL?\n"
    assert f"{lines['env']}\n{advice}" in ran.out, "in 80 columns it has a line of its own"


def test_for_programs(here: Here) -> None:
    ran = here.run("doctor", "--json")
    found = ran.json()["checks"]
    assert (ran.code, ran.err) == (1, "")
    assert isinstance(found, list)
    assert all(set(check) == {"name", "ok", "detail", "fix"} for check in found)
    assert [check["name"] for check in found if not check["ok"]] == ["worker", "relay"]


def test_settings_that_cannot_be_read(here: Here) -> None:
    here.write("mailspool.toml", 'relay_uri = "smtp://x"\nmax_sessions = "many"\n')
    ran = here.run("doctor", "--json")
    found = ran.json()["checks"]
    assert (ran.code, ran.err) == (1, "")
    assert isinstance(found, list)
    assert [check["name"] for check in found] == ["settings"]
    assert (found[0]["detail"], found[0]["fix"]) == (
        'mailspool.toml line 1: unknown setting "relay_uri"',
        'Did you mean "relay_url"?',
    )


def test_secrets_that_others_can_read_and_a_missing_one(here: Here) -> None:
    secret = here.write("password", "swordfish\n")
    secret.chmod(0o644)
    here.write("mailspool.toml", 'relay_url = "smtp://me@127.0.0.1:1"\nrelay_password_file = "password"\n')
    ran = here.run("doctor")
    assert "warn  settings" in ran.out
    assert "chmod 600" in ran.out
    assert "swordfish" not in ran.out
    secret.unlink()
    gone = here.run("doctor")
    assert (gone.code, "FAIL  relay " in gone.out) == (1, True)
