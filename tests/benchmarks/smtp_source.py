"""One worker process against Postfix's C load generator, into the same smtp-sink, paired in one run.

    python -m tests.benchmarks.smtp_source [--mails 30000] [--pairs 5] [--sessions 20] [--durability fsync,everysec]

`smtp-source -d -s 10 -l 4096` has no queue; we load a durable batch of as many personal mails of 4 KiB, then start
`mailspool worker --until-done`. Start-up is left out by Redis' own clock: from the first lease to the batch's end.
`sent` must equal what the sink counted. Needs Postfix's smtp-source and smtp-sink, and root for the sink's `-u`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from mailspool import Message, Settings, Spool
from tests.benchmarks.sides import LINE
from tests.benchmarks.sink import CountError, sink


@dataclass(frozen=True)
class Result:
    """One of our runs."""

    rate_per_s: float
    enqueue_per_s: float
    worker_mib: float
    worker_cpu_us: float


def source(mails: int, port: int) -> float:
    command = ["smtp-source", "-d", "-s", "10", "-l", "4096", "-m", str(mails)]
    started = time.perf_counter()
    subprocess.run([*command, "-f", "a@x.test", "-t", "b@y.test", f"127.0.0.1:{port}"], check=True)
    return mails / (time.perf_counter() - started)


def rows(mails: int) -> list[dict[str, object]]:
    return [
        {"email": f"user{i}@y{i % 50}.test", "name": f"Anna {i}", "code": f"C{i:08d}", "amount": f"{i % 977}.50"}
        for i in range(mails)
    ]


def ours(mails: int, sessions: int, durability: str, port: int) -> Result:
    folder = Path(tempfile.mkdtemp(prefix="mailspool-bench-"))
    try:
        settings = Settings(
            data_dir=folder / "spool",
            durability=durability,
            relay_url=f"smtp://127.0.0.1:{port}",
            max_sessions=sessions,
            max_message_bytes=1_000_000,
        )
        return asyncio.run(one_batch(settings, rows(mails)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def one_batch(settings: Settings, table: list[dict[str, object]]) -> Result:
    message = Message(
        from_="News <a@x.test>",
        subject="News for {{ name }}",
        text="Dear {{ name }},\n\nyour code is {{ code }}, you owe {{ amount }}.\n\n" + LINE * 42,
    )
    async with Spool(settings) as spool:
        started = time.perf_counter()
        batch = await spool.send_batch(message, table, key="bench")
        enqueue = len(table) / (time.perf_counter() - started)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        peak_mib = await run_worker(settings)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        status = await batch.status()
        if status.sent != len(table) or status.started_at is None or status.finished_at is None:
            raise RuntimeError(f"not all were sent: {status}")
        connection = await spool.connection()
        fields = await connection.fields(connection.keys.batch(batch.id))
        took_s = (int(fields["finished"]) - int(fields["started"])) / 1000
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Result(len(table) / took_s, enqueue, peak_mib, cpu_s / len(table) * 1e6)


async def run_worker(settings: Settings) -> float:
    """`mailspool worker --until-done` as a process of its own; its largest memory in MiB."""
    given = {
        "MAILSPOOL_DATA_DIR": str(settings.data_dir),
        "MAILSPOOL_DURABILITY": settings.durability,
        "MAILSPOOL_RELAY_URL": str(settings.relay_url),
        "MAILSPOOL_MAX_SESSIONS": str(settings.max_sessions),
        "MAILSPOOL_LOG_LEVEL": os.environ.get("BENCH_LOG_LEVEL", "info"),
    }
    code = "from mailspool.settings import Settings; from mailspool_worker.cli_entry import run_worker; "
    code += "run_worker(Settings(), until_done=[]); "
    # VmHWM begins anew at exec; getrusage's ru_maxrss would show this process' own size at the fork.
    code += "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    path = os.pathsep.join(["producer", "worker", os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            env={**os.environ, **given, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=log,
        )
        out, _ = await process.communicate()
    return int(out.split()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=30_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=20, help="ours; the default of max_sessions")
    parser.add_argument("--durability", default="everysec,fsync")
    asked = parser.parse_args()
    for durability in asked.durability.split(","):
        base, results = [], []
        with tempfile.TemporaryDirectory(prefix="mailspool-sink-") as folder, sink(Path(folder)) as into:
            source(asked.mails // 4, into.port)
            for _ in range(asked.pairs):
                base.append(source(asked.mails, into.port))
                results.append(ours(asked.mails, asked.sessions, durability, into.port))
            got = into.counted()
        expected = asked.mails // 4 + 2 * asked.pairs * asked.mails
        report(durability, asked.sessions, base, results, got, expected)
        if got != expected:
            raise CountError(f"the sink counted {got} mails, {expected} were sent: these figures are worth nothing")


def report(
    durability: str, sessions: int, base: list[float], results: list[Result], counted: int, expected: int
) -> None:
    ratios = sorted(result.rate_per_s / other for result, other in zip(results, base, strict=True))
    median = {
        name: round(statistics.median(asdict(result)[name] for result in results), 1) for name in asdict(results[0])
    }
    print(
        json.dumps(
            {
                "durability": durability,
                "sessions": sessions,
                "ratio": round(statistics.median(ratios), 3),
                "spread": [round(ratios[0], 3), round(ratios[-1], 3)],
                "smtp_source_per_s": round(statistics.median(base)),
                **median,
                "sink_counted": counted,
                "expected": expected,
                "cpus": os.cpu_count(),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
