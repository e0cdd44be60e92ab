"""deploy/Containerfile and deploy/compose.yaml: what they name exists here, and the worker's promises hold in them.

No container engine is needed: the files are read, and the commands in them are asked for their help.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mailspool.settings import Settings

HOUSE = Path(__file__).parents[2]
CONTAINERFILE = HOUSE / "deploy" / "Containerfile"
COMPOSE = HOUSE / "deploy" / "compose.yaml"
OURS = ("worker", "sandbox")


def setting_names() -> set[str]:
    return {f"MAILSPOOL_{name.upper()}" for name in Settings.model_fields}


def services() -> dict[str, dict[str, object]]:
    parsed = yaml.safe_load(COMPOSE.read_text("utf-8"))
    assert isinstance(parsed, dict)
    found = parsed["services"]
    assert isinstance(found, dict)
    return found


def words(service: str, key: str) -> list[str]:
    found = services()[service][key]
    assert isinstance(found, list)
    return [str(word) for word in found]


def health_words(service: str) -> list[str]:
    check = services()[service]["healthcheck"]
    assert isinstance(check, dict)
    kind, *rest = check["test"]
    assert kind == "CMD"
    return [str(word) for word in rest]


def help_of(command: str) -> str:
    code = "from mailspool.cli.main import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code, command, "--help"],
        env={
            **os.environ,
            "PYTHONPATH": f"{HOUSE / 'producer'}{os.pathsep}{HOUSE / 'worker'}",
            "COLUMNS": "200",
            "NO_COLOR": "1",
            "TERM": "dumb",
        },
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def instructions() -> list[str]:
    joined = re.sub(r"\\\n", " ", CONTAINERFILE.read_text("utf-8"))
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


def test_every_service_knows_its_health() -> None:
    for name, service in services().items():
        assert "healthcheck" in service, name


def test_the_environment_holds_settings_only() -> None:
    for name in OURS:
        environment = services()[name].get("environment", {})
        assert isinstance(environment, dict)
        assert set(environment) <= setting_names(), name


@pytest.mark.parametrize("service", OURS)
def test_commands_exist_with_their_options(service: str) -> None:
    for command in (words(service, "command"), health_words(service)):
        name, *rest = [word for word in command if word not in {"mailspool", "--quiet"}]
        text = help_of(name)
        assert not [word for word in rest if word.startswith("--") and word not in text], name


def test_valkey_reads_our_configuration() -> None:
    assert words("valkey", "command")[:2] == ["valkey-server", "/etc/mailspool/redis.conf"]
    assert "./redis.conf:/etc/mailspool/redis.conf:ro" in words("valkey", "volumes")


def test_the_worker_meets_the_other_two_by_their_names() -> None:
    environment = services()["worker"]["environment"]
    assert isinstance(environment, dict)
    assert environment["MAILSPOOL_REDIS_URL"] == "redis://valkey:6379/0"
    assert environment["MAILSPOOL_RELAY_URL"].endswith("smtp://sandbox:2525}")
    assert "0.0.0.0:2525" in words("sandbox", "command")


def test_a_stop_has_time_to_finish_what_is_on_the_wire() -> None:
    grace_s = int(str(services()["worker"]["stop_grace_period"]).removesuffix("s"))
    assert grace_s >= Settings.model_fields["stop_timeout"].default.total_seconds() + 10


def test_the_secret_has_the_name_that_settings_look_for() -> None:
    named = re.findall(r"mailspool_(\w+)\b(?=[\]:])", COMPOSE.read_text("utf-8"))
    assert named
    assert set(named) <= set(Settings.model_fields)


def test_the_image_copies_what_is_there() -> None:
    copied = [
        word
        for line in instructions()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    assert {"constraints.txt", "pyproject.toml", "producer", "worker", "README.md", "LICENSE"} <= set(copied)
    assert not [name for name in copied if not (HOUSE / name).exists()]


def test_the_image_installs_by_hash_and_runs_as_nobody_special() -> None:
    lines = instructions()
    assert [line for line in lines if line.startswith("RUN pip download") and "--require-hashes" in line]
    assert not [
        line for line in lines if "pip install" in line and line.count("pip install") != line.count("--no-index")
    ]
    user = next(line.split()[1] for line in lines if line.startswith("USER "))
    assert int(user) > 0
    assert lines.index(f"USER {user}") < lines.index('ENTRYPOINT ["mailspool"]') < lines.index('CMD ["worker"]')


def test_the_image_sets_settings_only_and_a_python_that_we_support() -> None:
    text = "\n".join(instructions())
    assert set(re.findall(r"MAILSPOOL_\w+", text)) <= setting_names()
    (version,) = set(re.findall(r"^FROM docker\.io/library/python:([\d.]+)-slim", text, re.MULTILINE))
    assert f"Python :: {version}" in (HOUSE / "pyproject.toml").read_text("utf-8")
