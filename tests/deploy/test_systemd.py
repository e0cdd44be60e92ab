"""deploy/mailspool-worker.service: systemd understands it, and it agrees with the settings and the exit codes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mailspool.errors import ConfigError, NotFound, SpoolUnavailable
from mailspool.settings import Settings

UNIT = Path(__file__).parents[2] / "deploy" / "mailspool-worker.service"


def entries() -> list[tuple[str, str]]:
    lines = (line for line in UNIT.read_text("utf-8").splitlines() if "=" in line and not line.startswith("#"))
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def value(name: str) -> str:
    (found,) = [text for key, text in entries() if key == name]
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """On a copy whose program exists here: only that one word differs."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text("utf-8").replace("/opt/mailspool/bin/mailspool", sys.executable), "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if UNIT.name in line]) == (0, [])


def test_a_stop_has_time_to_finish_what_is_on_the_wire() -> None:
    assert value("KillMode") == "mixed"
    assert int(value("TimeoutStopSec")) >= Settings.model_fields["stop_timeout"].default.total_seconds() + 10


def test_what_only_a_person_can_mend_is_not_started_again() -> None:
    usage, wrong_owner = 2, 77
    not_again = {int(code) for code in value("RestartPreventExitStatus").split()}
    assert not_again == {usage, wrong_owner, ConfigError.default_exit, NotFound.default_exit}
    assert value("Restart") == "on-failure"
    assert SpoolUnavailable.default_exit not in not_again


def test_credentials_have_the_names_of_secret_settings() -> None:
    text = UNIT.read_text("utf-8")
    names = [line.split("=")[1].split(":")[0] for line in text.splitlines() if "LoadCredential=" in line]
    assert names == ["mailspool.relay_password", "mailspool.redis_password"]
    assert all(name.removeprefix("mailspool.") in Settings.model_fields for name in names)


def test_it_starts_the_worker_command() -> None:
    program, *words = value("ExecStart").split()
    assert Path(program).name == "mailspool"
    assert words == ["--config", "/etc/mailspool/mailspool.toml", "worker"]
