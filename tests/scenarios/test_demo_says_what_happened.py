"""The demo's accounts and what its receiver kept are one story, message by message, by the standard library alone."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import subprocess
import sys
from pathlib import Path


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_what_the_receiver_kept_is_what_the_accounts_call_sent(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    ran = subprocess.run(
        [sys.executable, "-m", "mailspool.cli", "--json", "demo", "--count", "300", "--keep", str(kept)],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(ran.stdout)
    accounts = lines(kept / "show.jsonl")
    received = lines(kept / "index.jsonl")
    sent = {one["message_id"]: one for one in accounts if one["state"] == "sent"}

    assert len(accounts) == told["count"] == 300
    assert len(sent) == told["sent"] == len(received)
    assert told["sent"] + told["failed"] == 300
    assert {one["message_id"] for one in received} == set(sent)
    for one in received:
        mine = sent[one["message_id"]]
        raw = (kept / str(one["path"])).read_bytes()
        parsed = email.message_from_bytes(raw, policy=email.policy.default)
        assert hashlib.sha256(raw).hexdigest() == one["sha256"]
        assert (one["recipient"], one["size"]) == (mine["recipient"], mine["size_bytes"])
        assert parsed["Message-ID"] == mine["message_id"]
        assert str(one["recipient"]) in str(parsed["To"])
        assert not parsed.defects
    failed = [one for one in accounts if one["state"] == "failed"]
    assert {one["reason"] for one in failed} == {"mailbox_unknown"}
