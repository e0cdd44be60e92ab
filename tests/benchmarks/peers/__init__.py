"""Other ways to send the same mails. One file a peer, as its own documentation would have it written."""

from __future__ import annotations

from tests.benchmarks.peers.arq_jobs import ArqJobs
from tests.benchmarks.peers.bullmq import BullMq
from tests.benchmarks.peers.celery_tasks import CeleryTasks
from tests.benchmarks.peers.loops import Loop
from tests.benchmarks.peers.postfix_relay import PostfixRelay
from tests.benchmarks.sides import Side

PEERS: dict[str, Side] = {
    "aiosmtplib": Loop("aiosmtplib, ten kept connections", "aiosmtplib"),
    "smtplib": Loop("smtplib loop", "smtplib"),
    "bullmq": BullMq(),
    "arq": ArqJobs(),
    "celery": CeleryTasks(),
    "postfix": PostfixRelay(),
}
