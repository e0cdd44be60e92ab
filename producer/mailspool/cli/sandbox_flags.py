"""The flags of `sandbox` that are orders for everybody, with their help texts; sandbox.py runs it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from mailspool.cli.options import duration

StartTls = Literal["refused", "garbage", "dropped", "injected"]
Nested = Literal["refused", "accepted", "dropped"]

_EVERYBODY = "Misbehaviour for everybody"


def _flag(name: str, words: str, metavar: str | None = None) -> object:
    return typer.Option(name, help=words, metavar=metavar, rich_help_panel=_EVERYBODY)


def _time(name: str, words: str) -> object:
    return typer.Option(name, help=words, metavar="DUR", parser=duration, rich_help_panel=_EVERYBODY)


NoPipelining = Annotated[bool, _flag("--no-pipelining", "Not offered; whoever sends ahead all the same is dropped.")]
NoEightBit = Annotated[bool, _flag("--no-8bitmime", "Not offered; octets above 127 are refused at the dot.")]
Broken = Annotated[StartTls | None, _flag("--broken-starttls", "STARTTLS is offered, and ends like this.")]
Certificate = Annotated[Path | None, _flag("--certificate", "Offer STARTTLS with this (PEM).", "FILE")]
PrivateKey = Annotated[Path | None, _flag("--key", "The certificate's key (PEM).", "FILE")]
RefuseAuth = Annotated[bool, _flag("--refuse-auth", "AUTH is offered, and every login gets 535.")]
Quota = Annotated[int | None, _flag("--quota", "After N mails in all, MAIL gets 450 (daily message quota).", "N")]
PerSession = Annotated[int | None, _flag("--session-messages", "After N mails a session, 421 and the end.", "N")]
Sessions = Annotated[int | None, _flag("--max-sessions", "One connection more gets 421.", "N")]
Greylist = Annotated[
    timedelta | None, _time("--greylist", "Client, sender and recipient together get 450 until known for so long.")
]
BannerDelay = Annotated[timedelta | None, _time("--banner-delay", "Greet so late.")]
EarlyTalker = Annotated[bool, _flag("--early-talker", "Who speaks before the (late) greeting gets 554 and is dropped.")]
Slow = Annotated[timedelta | None, _time("--slow", "Answer every final dot so late.")]
NestedMail = Annotated[Nested, _flag("--nested-mail", "What MAIL inside a transaction gets.")]
