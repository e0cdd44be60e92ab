"""`python -m tests.benchmarks [--rounds 5] [--mails 30000] [--sides fsync,everysec,...] [--install] [--out FOLDER]`.

Sides: fsync, everysec (Mailspool's default and its other promise), personal-fsync, personal-everysec (subject, text and
HTML of each mail its own), and the peers aiosmtplib, smtplib, bullmq, arq, celery, postfix. Without `--sides`: all that
can run here; what cannot says how to install it. `--out` writes bench.json and bench.svg.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.peers import PEERS
from tests.benchmarks.report import as_json, figures, machine, svg, table
from tests.benchmarks.sides import Mailspool, Side, SmtpSource
from tests.benchmarks.sink import Sink, Stopwatch, sink

OURS: dict[str, Side] = {
    "fsync": Mailspool("Mailspool, fsync at every commit (default)", "fsync"),
    "everysec": Mailspool("Mailspool, fsync each second", "everysec"),
    "personal-fsync": Mailspool("Mailspool, fsync, personal text + HTML", "fsync", "personal"),
    "personal-everysec": Mailspool("Mailspool, each second, personal", "everysec", "personal"),
}
BASE = SmtpSource()


def measure(side: Side, mails: int, into: Sink) -> float:
    count = max(500, int(mails * side.share))
    with tempfile.TemporaryDirectory(prefix="mailspool-bench-", ignore_cleanup_errors=True) as folder:
        watch = Stopwatch(into)
        try:
            with side.sending(into.port, count, Path(folder)):
                rate = watch.rate_per_s(count)
        except Exception:
            log = Path(folder) / "side.log"
            sys.stderr.write(f"{side.name}: {log.read_text('utf-8', 'replace')[-2000:] if log.exists() else ''}\n")
            raise
        watch.check(count)
    return rate


def chosen(names: str, *, install: bool) -> list[Side]:
    known = {**OURS, **PEERS}
    wanted = names.split(",") if names else list(known)
    sides = []
    for name in wanted:
        if name not in known:
            raise SystemExit(f"no side {name!r}: there are {', '.join(known)}")
        side = known[name]
        if install and side.missing():
            side.install()
        if words := side.missing():
            sys.stderr.write(f"without {name}: {words}\n")
        else:
            sides.append(side)
    return sides


def run(sides: Sequence[Side], rounds: int, mails: int, out: Path | None) -> None:
    rates: dict[str, list[float]] = {side.name: [] for side in (BASE, *sides)}
    with tempfile.TemporaryDirectory(prefix="mailspool-sink-") as folder, sink(Path(folder)) as into:
        measure(BASE, mails // 4, into)  # warms up
        for number in range(rounds):
            for side in (BASE, *sides):
                rates[side.name].append(measure(side, mails, into))
                sys.stderr.write(f"round {number + 1}: {side.name} {rates[side.name][-1]:,.0f}/s\n")
    base = rates[BASE.name]
    found = [figures(name, rates[name], base) for name in rates]
    about = {"mails": mails, "rounds": rounds, **machine()}
    print(table(found))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "bench.json").write_text(json.dumps(as_json(found, about), indent=1) + "\n", "utf-8")
        words = f"4 KiB mails, one recipient each; speed beside smtp-source in the same round, median of {rounds}; "
        (out / "bench.svg").write_text(svg(found, f"{words}{about['cpus']} cores"), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mails", type=int, default=30_000, help="of the fast sides; slow ones send a share of them")
    parser.add_argument("--sides", default="")
    parser.add_argument("--install", action="store_true", help="get what a peer lacks, into .bench/")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if words := BASE.missing():
        raise SystemExit(words)
    run(chosen(asked.sides, install=asked.install), asked.rounds, asked.mails, asked.out)


if __name__ == "__main__":
    main()
