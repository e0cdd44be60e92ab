"""The flags of `send`, with their help texts; send.py is what becomes of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from mailspool.cli.options import ClassName, duration, moment
from mailspool.cli.when import Moment

Uncertain = Literal["resend", "hold"]
ListFormat = Literal["csv", "jsonl", "list"]
SameAddress = Literal["refuse", "first", "all"]

From = Annotated[str | None, typer.Option("--from", metavar="MAILBOX", help="The sender. Default: default_from.")]
Subject = Annotated[str | None, typer.Option("--subject", metavar="TEMPLATE")]
Text = Annotated[str | None, typer.Option("--text", metavar="FILE", help="The plain text, a Jinja2 template.")]
Html = Annotated[str | None, typer.Option("--html", metavar="FILE", help="The HTML; alone, its text part is made.")]
Body = Annotated[str | None, typer.Option("--body", metavar="TEMPLATE", help="The plain text itself.")]
Attach = Annotated[list[str] | None, typer.Option("--attach", metavar="PATH", help="A file for all; repeatable.")]
To = Annotated[
    list[str] | None,
    typer.Option("--to", metavar="FILE|ADDRESS|-", help="A list, stdin (-), or an address (repeatable)."),
]
Eml = Annotated[str | None, typer.Option("--eml", metavar="FILE", help="A finished mail, sent as it is.")]
ReplyTo = Annotated[str | None, typer.Option("--reply-to", metavar="MAILBOX")]
Header = Annotated[list[str] | None, typer.Option("--header", metavar="'NAME: VALUE'", help="Repeatable.")]

_KEY_HELP = "The same key again, also with a corrected list, queues only what is missing; without it all get it again."
Name = Annotated[str | None, typer.Option("--name", help="What people call this batch.")]
Key = Annotated[str | None, typer.Option("--key", help=_KEY_HELP)]
Class = Annotated[
    ClassName | None, typer.Option("--class", help="Default: bulk for a list, transactional for addresses.")
]
At = Annotated[
    Moment | None,
    typer.Option("--at", metavar="WHEN", parser=moment, help="Not before: 08:00, 2026-11-24T08:00, +2h."),
]
Expires = Annotated[
    Moment | None,
    typer.Option("--expires", metavar="WHEN", parser=moment, help="Never after: a time, or 2h from the start."),
]
RelayName = Annotated[str | None, typer.Option("--relay", metavar="NAME", help="Only through this relay.")]
OnUncertain = Annotated[
    Uncertain | None,
    typer.Option("--on-uncertain", help="When the last reply was lost: resend (default), or hold, never repeat."),
]
Hold = Annotated[bool, typer.Option("--hold", help="Queue it held; mailspool release lets it go.")]

Watch = Annotated[bool, typer.Option("--watch", help="Follow it until it is done; workers elsewhere deliver.")]
Deliver = Annotated[bool, typer.Option("--deliver", help="Deliver it here and now, until it is done.")]
FollowTime = Annotated[
    timedelta | None,
    typer.Option("--timeout", metavar="DUR", parser=duration, help="With --watch, --deliver: stop after this (75)."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and render every row; queue nothing.")]
Rehearse = Annotated[
    bool, typer.Option("--rehearse", help="Send it to a receiver on this machine that misbehaves; queue nothing.")
]
Again = Annotated[bool, typer.Option("--again", help="Mail everybody once more, although this list was queued before.")]

SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Send the good rows; the bad ones go to a file.")]
Rejects = Annotated[Path | None, typer.Option("--rejects", metavar="FILE", help="That file (LIST.rejected.csv).")]
AllowEmpty = Annotated[bool, typer.Option("--allow-empty", help="A list without rows is fine.")]
Duplicates = Annotated[
    SameAddress | None,
    typer.Option("--duplicates", help="The same address with other values: refuse, first (one mail), all (each)."),
]
RowKey = Annotated[
    str | None, typer.Option("--row-key", metavar="COLUMN", help="Address and this column together make a row.")
]
EmailColumn = Annotated[str | None, typer.Option("--email-column", metavar="COLUMN", help="Where the addresses are.")]
Encoding = Annotated[str | None, typer.Option("--encoding", metavar="NAME", help="Of the list, if it is not UTF-8.")]
Delimiter = Annotated[str | None, typer.Option("--delimiter", metavar="SIGN", help="comma, semicolon, tab or pipe.")]
ToFormat = Annotated[ListFormat | None, typer.Option("--to-format", help="What the list is, if its name does not say.")]
