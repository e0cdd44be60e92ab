"""On what terms a batch is sent: key, class, dates, policy. Checked here, before anything is queued. Pure.

`Terms.make` raises InputError in sentences; `fields` are what `begin` and `send1` store. Times go to Redis as
milliseconds; "from now" is decided by Redis' clock at the commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailspool.contract.moves import Arg
from mailspool.contract.states import CLASSES, RECORD_VERSION, Class, OnUncertain
from mailspool.errors import InputError
from mailspool.settings import Settings

_NAME_LIMIT = 200
_KEY_LIMIT = 500


def _ms(when: datetime) -> int:
    return int(when.timestamp() * 1000)


@dataclass(frozen=True)
class Terms:
    """The common arguments of send, send_batch and check."""

    class_: Class
    key: str
    name: str
    send_at_ms: int
    lifetime_ms: int
    expires_ms: int
    on_uncertain: OnUncertain
    relay: str
    hold: bool
    keep_done_ms: int
    keep_failed_ms: int

    @classmethod
    def make(
        cls,
        settings: Settings,
        now: datetime,
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
        known_key: bool,
    ) -> Terms:
        """`known_key`: a batch with this key exists; its terms stand, and past dates are not looked at again."""
        if class_ not in CLASSES:
            raise InputError(f'class "{class_}" is neither transactional nor bulk')
        policy = on_uncertain or settings.on_uncertain
        if policy not in ("resend", "hold"):
            raise InputError(f'on_uncertain "{policy}" is neither resend nor hold')
        _check_word("key", key, _KEY_LIMIT)
        _check_word("name", name, _NAME_LIMIT)
        _check_dates(now, send_at, expires_after, expires_at, known_key=known_key)
        default = settings.expire_bulk if class_ == "bulk" else settings.expire_transactional
        lifetime = expires_after if expires_after is not None else (None if expires_at else default)
        return cls(
            class_=class_,
            key=key or "",
            name=name or "",
            send_at_ms=_ms(send_at) if send_at else 0,
            lifetime_ms=int(lifetime.total_seconds() * 1000) if lifetime else 0,
            expires_ms=_ms(expires_at) if expires_at else 0,
            on_uncertain=policy,
            relay=relay or "",
            hold=hold,
            keep_done_ms=int(settings.keep_done.total_seconds() * 1000),
            keep_failed_ms=int(settings.keep_failed.total_seconds() * 1000),
        )

    def fields(self, digest: str) -> dict[str, Arg]:
        """The batch's fields as the scripts read them."""
        return {
            "v": RECORD_VERSION,
            "class": self.class_,
            "name": self.name,
            "digest": digest,
            "send_at": self.send_at_ms,
            "lifetime": self.lifetime_ms,
            "expires": self.expires_ms,
            "claim": "1" if self.on_uncertain == "hold" else "0",
            "relay": self.relay,
            "hold": "1" if self.hold else "0",
            "keep": self.keep_done_ms,
            "keep_bad": self.keep_failed_ms,
        }

    def differing(self, stored: Mapping[str, str]) -> list[str]:
        """Names of terms that an existing batch of this key has otherwise; the first call's stand."""
        found = []
        if stored.get("class") != self.class_:
            found.append("class")
        if self.name and stored.get("name", "") != self.name:
            found.append("name")
        if int(stored.get("send_at") or 0) != self.send_at_ms:
            found.append("send_at")
        if self.lifetime_ms and int(stored.get("lifetime") or 0) != self.lifetime_ms:
            found.append("expires_after")
        if self.expires_ms and int(stored.get("expires") or 0) != self.expires_ms:
            found.append("expires_at")
        if stored.get("claim") != ("1" if self.on_uncertain == "hold" else "0"):
            found.append("on_uncertain")
        if stored.get("relay", "") != self.relay:
            found.append("relay")
        return found


def _check_word(what: str, word: str | None, limit: int) -> None:
    if word is None:
        return
    if what == "key" and not word:
        raise InputError("the key is empty: leave it out, or give it a name such as invoices-2026-11")
    if len(word) > limit:
        raise InputError(f"the {what} has {len(word)} characters; {limit} is the most")
    if not word.isprintable():
        raise InputError(f"the {what} holds a control character")


def _check_dates(
    now: datetime,
    send_at: datetime | None,
    expires_after: timedelta | None,
    expires_at: datetime | None,
    *,
    known_key: bool,
) -> None:
    for what, when in (("send_at", send_at), ("expires_at", expires_at)):
        if when is not None and when.tzinfo is None:
            raise InputError(
                f'{what} is a naive datetime: use datetime.now().astimezone() or tzinfo=ZoneInfo("Asia/Tehran")'
            )
    if expires_after is not None and expires_at is not None:
        raise InputError("expires_after and expires_at are both given: which one counts? Leave one out.")
    if expires_after is not None and expires_after <= timedelta(0):
        raise InputError(f"expires_after is {expires_after}: the mail would never be sent")
    if expires_at is not None and expires_at <= (send_at or now):
        what = "send_at" if send_at else "now"
        raise InputError(f"expires_at {expires_at.isoformat()} is not after {what}: the mail would never be sent")
    if send_at is not None and send_at < now - timedelta(minutes=1) and not known_key:
        raise InputError(f"send_at {send_at.isoformat()} is in the past; leave it out to send now")
