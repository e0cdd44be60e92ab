"""One BullMQ job a mail, Nodemailer's pool of ten connections in each of two workers. The programs are bullmq/*.mjs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.peers.loops import CONNECTIONS, mail
from tests.benchmarks.peers.own import HOME, install_node
from tests.benchmarks.sides import SENDER, processes
from tests.support.embedded import plain_server
from tests.support.ports import free_port

PACKAGES = ("bullmq@5", "nodemailer@7")
WORKERS = 2
PROGRAMS = Path(__file__).with_name("bullmq_programs")


@dataclass
class BullMq:
    """Append-only with everysec."""

    name: str = "BullMQ + Nodemailer pool, two workers"
    share: float = 0.1

    def missing(self) -> str:
        if shutil.which("node") is None:
            return "Node.js is not installed (Debian, Ubuntu: apt install nodejs npm)"
        if (HOME / "bullmq" / "node_modules" / "bullmq").exists():
            return ""
        return f"BullMQ is not there: --install, or in .bench/bullmq: npm install {' '.join(PACKAGES)}"

    def install(self) -> None:
        install_node("bullmq", *PACKAGES)

    @contextmanager
    def sending(self, port: int, mails: int, folder: Path) -> Iterator[None]:
        redis_port, home = free_port(), HOME / "bullmq"
        for program in PROGRAMS.glob("*.mjs"):
            shutil.copy(program, home / program.name)  # Node looks for packages from where the program lies
        (folder / "mail.eml").write_bytes(mail("someone@y.test"))
        env = {
            "BENCH_REDIS_PORT": str(redis_port),
            "BENCH_PORT": str(port),
            "BENCH_SENDER": SENDER,
            "BENCH_CONNECTIONS": str(CONNECTIONS),
        }
        options = ("--appendonly", "yes", "--appendfsync", "everysec")
        with plain_server(folder / "redis", *options, port=redis_port):
            load = ["node", str(home / "load.mjs"), str(mails)]
            subprocess.run(load, check=True, cwd=folder, env={"PATH": "/usr/local/bin:/usr/bin:/bin", **env})
            with processes(*[["node", str(home / "work.mjs")]] * WORKERS, folder=folder, env=env):
                yield
