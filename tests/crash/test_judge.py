"""The judge: what it reads, what it calls a fault, and that it knows nothing of the queue's code."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.crash import judge as judging
from tests.crash.judge import Verdict, judge, longest_gap_s, recipients, table

ROWS = 4
NAMES = list(recipients("north1", ROWS))


def write(path: Path, lines: Iterable[object]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def dot(name: str, at_ms: int, session: int = 1, reply: str = "250 ok", sha256: str = "aa") -> dict[str, object]:
    return {"stage": "dot", "reply": reply, "recipient": name, "at_ms": at_ms, "session": session, "sha256": sha256}


def closed(at_ms: int, session: int = 1) -> dict[str, object]:
    return {"stage": "close", "reply": "", "recipient": None, "at_ms": at_ms, "session": session}


def blow(**changes: object) -> dict[str, object]:
    plain = {"what": "killed", "at_ms": 1_000, "until_ms": 1_100, "receivers": None, "doubt": None}
    return {**plain, "repeats": True, "fresh": False, **changes}


class History:
    """A mailing of four mails that went well, and what a test changes in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log: list[dict[str, object]] = [dot(name, 100 * n) for n, name in enumerate(NAMES, 1)]
        self.states = ["sent"] * ROWS
        self.attempts = [1] * ROWS
        self.blows: list[dict[str, object]] = []
        self.told: list[dict[str, object]] = [
            {"asked": "k", "order": "north1", "rows": ROWS},
            {"acknowledged": "k", "at_ms": 50},
        ]
        self.ends: list[str] = []
        self.expects: dict[str, object] = {}

    def judged(self) -> Verdict:
        write(self.folder / "receiver0.jsonl", self.log)
        write(self.folder / "told-north.jsonl", self.told)
        write(self.folder / "blows.jsonl", self.blows)
        status = {name: self.states.count(name) for name in judging.OUTCOMES} | {"total": len(self.states)}
        messages = [list(told) for told in zip(NAMES, self.states, self.attempts, strict=True)]
        write(self.folder / "accounts.jsonl", [{"key": "k", "status": status, "messages": messages}])
        expect = {"states": self.ends, "again_limit_s": 30, **self.expects}
        (self.folder / "expect.json").write_text(json.dumps(expect))
        return judge(self.folder)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def test_all_is_well(history: History) -> None:
    verdict = history.judged()
    assert verdict.good
    assert (verdict.mails, verdict.lost, verdict.repeats, verdict.unasked, verdict.accounts) == (4, 0, 0, 0, "add up")


def test_lost_is_acknowledged_and_never_received(history: History) -> None:
    del history.log[2]
    verdict = history.judged()
    assert verdict.lost == 1
    assert not verdict.good


def test_a_refused_dot_is_no_receipt(history: History) -> None:
    history.log[2] = dot(NAMES[2], 300, reply="451 later")
    assert history.judged().lost == 1


def test_a_dot_without_a_reply_is_one(history: History) -> None:
    history.log[2] = dot(NAMES[2], 300, reply="")
    assert history.judged().good


def test_a_repeat_needs_a_blow(history: History) -> None:
    history.log += [closed(1_050), dot(NAMES[3], 2_000, session=2)]
    assert not history.judged().good
    history.blows = [blow()]
    verdict = history.judged()
    assert verdict.good
    assert (verdict.allowed, verdict.repeats) == (1, 1)


@pytest.mark.parametrize("changes", [{"repeats": False}, {"doubt": []}, {"receivers": ["receiver1"]}])
def test_a_blow_that_may_not_repeat_it(history: History, changes: dict[str, object]) -> None:
    history.log += [closed(1_050), dot(NAMES[3], 2_000, session=2)]
    history.blows = [blow(**changes)]
    assert not history.judged().good


def test_only_the_last_mail_of_a_session_and_once(history: History) -> None:
    history.log += [closed(1_050), dot(NAMES[2], 2_000, session=2)]
    history.blows = [blow()]
    assert not history.judged().good
    history.log[-1] = dot(NAMES[3], 2_000, session=2)
    history.log.append(dot(NAMES[3], 3_000, session=2))
    assert not history.judged().good


def test_a_repeat_with_other_bytes(history: History) -> None:
    history.log += [closed(1_050), dot(NAMES[3], 2_000, session=2, sha256="bb")]
    history.blows = [blow()]
    assert not history.judged().good


def test_nobody_asked(history: History) -> None:
    history.log.append(dot("stranger-0000001@y1.test", 500))
    assert history.judged().unasked == 1


def test_what_was_given_up_must_not_come(history: History) -> None:
    history.told += [{"asked": "g", "order": "north8", "rows": 1}, {"given_up": "g"}]
    history.log.append(dot(next(recipients("north8", 1)), 500))
    assert history.judged().unasked == 1


def test_what_was_never_acknowledged_may_come(history: History) -> None:
    history.told.append({"asked": "q", "order": "north9", "rows": 1})
    history.log.append(dot(next(recipients("north9", 1)), 500))
    assert history.judged().good


def test_called_sent_and_never_received(history: History) -> None:
    del history.log[0]
    history.states[0] = "sent"
    assert history.judged().accounts == "WRONG"


def test_received_and_called_failed(history: History) -> None:
    history.states[0] = "failed"
    verdict = history.judged()
    assert verdict.accounts == "WRONG"
    assert any("are called failed" in fault for fault in verdict.faults)


def test_uncertain_only_where_it_is_expected(history: History) -> None:
    history.states[3] = "uncertain"
    assert not history.judged().good
    history.ends = ["uncertain"]
    assert history.judged().good
    del history.log[3]
    verdict = history.judged()
    assert (verdict.good, verdict.uncertain, verdict.lost) == (True, 1, 0)


def test_going_again_too_late(history: History) -> None:
    history.log[3] = dot(NAMES[3], 41_100)
    history.blows = [blow(repeats=False)]
    verdict = history.judged()
    assert verdict.again_s == 40.0
    assert not verdict.good


def test_a_counted_attempt_of_what_was_given_back(history: History) -> None:
    history.attempts[1] = 2
    assert history.judged().good
    history.expects = {"attempts": 1}
    assert any("not with 1 attempts: 1, as with 2" in fault for fault in history.judged().faults)


def test_nothing_came_while_mail_was_queued(history: History) -> None:
    history.log[3] = dot(NAMES[3], 2_300)
    history.expects = {"gap_limit_s": 2}
    verdict = history.judged()
    assert verdict.gap_s == 2.0
    assert not verdict.good
    history.log[3] = dot(NAMES[3], 2_299)
    assert history.judged().good


@pytest.mark.parametrize(
    ("queued", "receipts", "longest_s"),
    [
        ([(0, 2)], [500, 900], 0.5),
        ([(0, 1), (9_000, 1)], [100, 9_200], 0.2),
        ([(0, 1), (5_000, 1), (8_000, 5)], [100, 9_000], 4.0),
        ([(1_000, 2)], [200, 900], 0.0),
        ([], [], 0.0),
    ],
    ids=["from the first on", "not while nothing waits", "more joins it", "before anybody was told", "nothing"],
)
def test_the_longest_gap(queued: list[tuple[int, int]], receipts: list[int], longest_s: float) -> None:
    assert longest_gap_s(queued, receipts) == longest_s


def test_the_table_names_every_fault(history: History) -> None:
    del history.log[2]
    text = table([("drill", history.judged())])
    assert "BAD" in text
    assert "drill: lost: 1" in text


def test_it_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(judging.__file__).read_text("utf-8"))
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
