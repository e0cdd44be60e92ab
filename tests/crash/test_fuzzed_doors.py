"""Thousands of spoiled inputs at every door: no error but the documented ones, nothing injected, nothing run or read.

The generator is seeded (the seed is printed; MAILSPOOL_FUZZ_SEED plays one again): it cuts, joins, repeats and spoils
good inputs and known attacks. The full edition takes 10,000 inputs a door.
"""

from __future__ import annotations

import os
import random
import secrets
from pathlib import Path

import pytest

from tests.crash.doors import DOORS, OWN_HEADERS, seeds
from tests.support.edition import pick, show

INPUTS = pick(short=250, full=10_000)
LONGEST = 4_096
_OF_A_FILE = b"root:x:0"
"""What any reading of /etc/passwd would show."""


def spoiled(chance: random.Random, corpus: list[bytes]) -> bytes:
    """One input."""
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.randint(0, 4)):
        at = chance.randint(0, len(data))
        match chance.randrange(6):
            case 0:
                data[at:at] = chance.choice(corpus)
            case 1:
                del data[at : at + chance.randint(1, 8)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 6))
            case 3 if data:
                data[min(at, len(data) - 1)] ^= 1 << chance.randrange(8)
            case 4:
                data[at:at] = bytes([chance.choice(b"\r\n\0.<>@,;:\"'\\{}%|= \t")]) * chance.randint(1, 3)
            case _:
                data = data[:at]
    return bytes(data[:LONGEST])


def nothing_injected(line: bytes, data: bytes) -> None:
    assert not any(octet in line for octet in b"\r\n\0"), f"more than one line: {line!r} from {data!r}"
    assert _OF_A_FILE not in line, f"a file was read: {data!r}"


def known_header(line: bytes, data: bytes) -> None:
    if line.startswith((b" ", b"\t", b"MAIL FROM:", b"RCPT TO:")):
        return
    assert line.partition(b":")[0].lower() in OWN_HEADERS or line[:1] in (b"", b"="), f"{line!r} from {data!r}"


@pytest.mark.storm
@pytest.mark.parametrize("door", DOORS)
async def test_nothing_but_documented_errors_and_nothing_injected(tmp_path: Path, door: str) -> None:
    seed = int(os.environ.get("MAILSPOOL_FUZZ_SEED") or secrets.randbits(32))
    chance, mark = random.Random(seed), tmp_path / "ran"
    corpus = seeds(door, mark)
    through = 0
    for number in range(INPUTS):
        data = corpus[number] if number < len(corpus) else spoiled(chance, corpus)
        try:
            lines = await DOORS[door](data, tmp_path)
        except BaseException as error:
            error.add_note(f"door {door}, seed {seed}, input {number}: {data!r}")
            raise
        through += bool(lines)
        for line in lines:
            nothing_injected(line, data)
            if door in ("templates", "csv", "jsonl", "records"):
                known_header(line, data)
    show(f"{door} (seed {seed})", inputs=INPUTS, let_through=through)
    assert not mark.exists(), "code was run"
    assert through or door in ("jobs", "records"), "every input was refused: this run proves nothing"
