"""On what terms a batch is sent: key, class, dates, policy. Checked here, before anything is queued. Pure.

`Terms.make` raises InputError in sentences; `fields` are what `begin` and `send1` store. Times go to Redis as
milliseconds; "from now" is decided by Redis' clock at the commit. Dates that are over are looked at apart
(`check_not_over`), because a key whose batch exists already does not ask for them again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

from mailspool.contract.moves import Arg
from mailspool.contract.states import CLASSES, RECORD_VERSION, Class, OnUncertain
from mailspool.errors import InputError, with_article
from mailspool.settings import Settings

DuplicatePolicy = Literal["refuse", "first", "all"]
BadRowPolicy = Literal["refuse", "skip"]
_NAME_LIMIT: Final = 200
_KEY_LIMIT: Final = 500
_FARTHEST: Final = timedelta(days=3660)
"""Ten years: a date beyond is a mistake, and outcomes hold times of 13 digits (the year 2286)."""
_RELAY_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
_SLACK: Final = timedelta(minutes=1)
"""`send_at=datetime.now(...)` is already over when it is looked at, and hosts' clocks differ."""


def _ms(when: datetime) -> int:
    return int(when.timestamp() * 1000)


@dataclass(frozen=True)
class Terms:
    """The common arguments of send, send_batch and check."""

    class_: Class
    key: str
    name: str
    send_at: datetime | None
    lifetime: timedelta | None
    expires_at: datetime | None
    on_uncertain: OnUncertain
    relay: str
    hold: bool
    keep_done: timedelta
    keep_failed: timedelta

    @classmethod
    def make(
        cls,
        settings: Settings,
        *,
        class_: Class,
        key: str | None,
        name: str | None,
        send_at: datetime | None,
        expires_after: timedelta | None,
        expires_at: datetime | None,
        on_uncertain: OnUncertain | None,
        relay: str | None,
        hold: bool,
    ) -> Terms:
        """All that can be told without a clock and without Redis."""
        if class_ not in CLASSES:
            raise InputError(f'class_ "{class_}" is neither transactional nor bulk.')
        policy = on_uncertain if on_uncertain is not None else settings.on_uncertain
        if policy not in ("resend", "hold"):
            raise InputError(f'on_uncertain "{policy}" is neither resend nor hold.')
        if not isinstance(hold, bool):
            raise InputError(f"hold is {with_article(hold)}: give True or False.")
        _check_word("key", key, _KEY_LIMIT)
        _check_word("name", name, _NAME_LIMIT)
        _check_relay_name(relay)
        _check_dates(send_at, expires_after, expires_at)
        default = settings.expire_bulk if class_ == "bulk" else settings.expire_transactional
        lifetime = expires_after if expires_after is not None else (None if expires_at is not None else default)
        return cls(
            class_=class_,
            key=key or "",
            name=name or "",
            send_at=send_at,
            lifetime=lifetime,
            expires_at=expires_at,
            on_uncertain=policy,
            relay=relay or "",
            hold=hold,
            keep_done=settings.keep_done,
            keep_failed=settings.keep_failed,
        )

    def over(self, now: datetime) -> InputError | None:
        """What is wrong with the dates at this moment; nothing of it counts for a key that has its batch."""
        if self.send_at is not None and self.send_at < now - _SLACK:
            return InputError(f"send_at {self.send_at.isoformat()} is in the past; leave it out to send now.")
        if self.expires_at is not None and self.expires_at <= now:
            return InputError(f"expires_at {self.expires_at.isoformat()} is over: the mail would never be sent.")
        for what, when in (("send_at", self.send_at), ("expires_at", self.expires_at)):
            if when is not None and when > now + _FARTHEST:
                return InputError(f"{what} {when.isoformat()} is more than ten years ahead.")
        return None

    def fields(self, digest: str) -> dict[str, Arg]:
        """The batch's fields as the scripts read them. `asked` is for `differing` alone."""
        return {
            "v": RECORD_VERSION,
            "class": self.class_,
            "name": self.name,
            "digest": digest,
            "send_at": _ms(self.send_at) if self.send_at is not None else 0,
            "lifetime": _whole_ms(self.lifetime),
            "expires": _ms(self.expires_at) if self.expires_at is not None else 0,
            "asked": self._asked(),
            "claim": "1" if self.on_uncertain == "hold" else "0",
            "relay": self.relay,
            "hold": "1" if self.hold else "0",
            "keep": _whole_ms(self.keep_done),
            "keep_bad": _whole_ms(self.keep_failed),
        }

    def differing(self, stored: Mapping[str, str]) -> tuple[str, ...]:
        """Names of terms that an existing batch of this key has otherwise; the first call's stand."""
        mine = {name: str(value) for name, value in self.fields("").items()}
        found = [
            name for name, field in (("class", "class"), ("send_at", "send_at")) if stored.get(field) != mine[field]
        ]
        if stored.get("asked") != mine["asked"]:
            found.append("expires_at" if self.expires_at is not None else "expires_after")
        if self.name and stored.get("name") != self.name:
            found.append("name")
        found += [
            name for name, field in (("on_uncertain", "claim"), ("relay", "relay")) if stored.get(field) != mine[field]
        ]
        return tuple(found)

    def _asked(self) -> str:
        """The expiry as it was asked for: the stored one moves with each new life of the batch."""
        return f"{_whole_ms(self.lifetime)}/{_ms(self.expires_at) if self.expires_at is not None else 0}"


def _whole_ms(span: timedelta | None) -> int:
    return int(span / timedelta(milliseconds=1)) if span is not None else 0


def _check_word(what: str, word: object, limit: int) -> None:
    if word is None:
        return
    if not isinstance(word, str):
        raise InputError(f"the {what} is {with_article(word)}: give a str.")
    if what == "key" and not word.strip():
        raise InputError("the key is empty: leave it out, or give it a name such as invoices-2026-11.")
    if len(word) > limit:
        raise InputError(f"the {what} has {len(word)} characters; {limit} is the most.")
    if not word.isprintable():
        raise InputError(f"the {what} holds a control character.")


def _check_relay_name(relay: object) -> None:
    """Never quoted in full: it may be a URL with a password in it."""
    if relay is None or (isinstance(relay, str) and _RELAY_NAME.fullmatch(relay)):
        return
    raise InputError(
        "relay is the name of a relay in the settings ([relays.NAME]), never a URL: credentials stay out of Redis.",
        hint='relay_url makes the relay "main"',
    )


def _check_dates(send_at: object, expires_after: object, expires_at: object) -> None:
    _check_aware("send_at", send_at)
    _check_aware("expires_at", expires_at)
    if expires_after is not None:
        _check_lifetime(expires_after)
        if expires_at is not None:
            raise InputError("expires_after and expires_at are both given: which one counts? Leave one out.")
    if isinstance(send_at, datetime) and isinstance(expires_at, datetime) and expires_at <= send_at:
        raise InputError("expires_at is not after send_at: the mail would never be sent.")


def _check_aware(what: str, when: object) -> None:
    if when is None:
        return
    if not isinstance(when, datetime):
        raise InputError(f"{what} is {with_article(when)}: give a datetime with a time zone.")
    if when.utcoffset() is None:
        raise InputError(
            f'{what} is a naive datetime: use datetime.now().astimezone() or tzinfo=ZoneInfo("Asia/Tehran").'
        )


def _check_lifetime(expires_after: object) -> None:
    if not isinstance(expires_after, timedelta):
        raise InputError(f"expires_after is {with_article(expires_after)}: give a timedelta.")
    if expires_after < timedelta(milliseconds=1):
        raise InputError(f"expires_after is {expires_after}: the mail would never be sent.")
    if expires_after > _FARTHEST:
        raise InputError("expires_after is more than ten years.")


def check_policies(on_bad_row: object, duplicates: object, row_key: object) -> None:
    """Raises InputError for a word that is none of theirs."""
    for what, given, known in (
        ("on_bad_row", on_bad_row, get_args(BadRowPolicy)),
        ("duplicates", duplicates, get_args(DuplicatePolicy)),
    ):
        if given not in known:
            raise InputError(f'{what} "{str(given)[:60]}" is none of {", ".join(known)}.')
    if row_key is not None and not isinstance(row_key, str):
        raise InputError(f"row_key is {with_article(row_key)}: give the name of a column.")
