"""One Celery task a mail; every process of the pool keeps an smtplib connection. The program is celery_app.py.txt: it
runs in an environment of its own, which has Celery and not this project.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.peers.loops import mail
from tests.benchmarks.peers.own import install_python, python_of
from tests.benchmarks.sides import SENDER, processes
from tests.support.embedded import plain_server
from tests.support.ports import free_port

PACKAGES = ("celery==5.6.*", "redis<6.5", "packaging")
PROCESSES = 2
PROGRAM = Path(__file__).with_name("celery_app.py.txt")


@dataclass
class CeleryTasks:
    """Acknowledged late, so that a crash loses nothing, as a queue for mail must."""

    name: str = "Celery + smtplib, two processes"
    share: float = 0.05

    def missing(self) -> str:
        if python_of("celery").exists():
            return ""
        return f"Celery is not there: --install, or python -m venv .bench/celery and pip install {' '.join(PACKAGES)}"

    def install(self) -> None:
        install_python("celery", *PACKAGES)

    @contextmanager
    def sending(self, port: int, mails: int, folder: Path) -> Iterator[None]:
        redis_port = free_port()
        python = str(python_of("celery"))
        (folder / "celery_app.py").write_text(PROGRAM.read_text("utf-8"), "utf-8")
        (folder / "mail.eml").write_bytes(mail("someone@y.test"))
        env = {"BENCH_REDIS": f"redis://127.0.0.1:{redis_port}/0", "BENCH_PORT": str(port), "BENCH_SENDER": SENDER}
        options = ("--appendonly", "yes", "--appendfsync", "everysec")
        with plain_server(folder / "redis", *options, port=redis_port):
            subprocess.run([python, "celery_app.py", str(mails)], check=True, cwd=folder, env=env)
            worker = [python, "-m", "celery", "-A", "celery_app", "worker", "-c", str(PROCESSES), "-l", "ERROR"]
            with processes(worker, folder=folder, env=env):
                yield
