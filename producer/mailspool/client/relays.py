"""Relays as a person asks for them: which there are, how they are, why, until when; `RelayStatus`.

Known is what the settings here name, what live workers offer, what a batch among the latest is pinned to, and what
Redis has a record of. `relay_status` is pure. Raises NotFound for a name that nobody knows, with the known ones.
Known limits: records of relays that nobody has any more are looked for among 200,000 keys of the spool's Redis;
a Redis user that may not SCAN does not see those. Sessions are those of each worker's last heartbeat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypedDict, cast

from mailspool.client import browse
from mailspool.client.connection import Connection, as_fields
from mailspool.contract.codec import DecodeError
from mailspool.contract.routenotes import sleeping_in, slowed_in
from mailspool.contract.talks import parse_talk
from mailspool.errors import ConfigError, NotFound
from mailspool.settings.suggest import did_you_mean
from mailspool.status import PAUSED_BY_YOU, RouteStatus, _Snapshot, route_status, utc

_SCANNED_AT_ONCE: Final = 10_000
_SCANS: Final = 20
_PINNED_AMONG: Final = 20
_SHOWN: Final = 200
"""Characters of a line that a server said."""
UNSERVED: Final = "unserved"
"""The state of a relay that no live worker has."""


@dataclass(frozen=True)
class RelayStatus(_Snapshot):
    """One relay. `state`: ok, waiting (it looks again at `until`), paused (a person's doing, or a person must look),
    unserved (no running worker has it). `sessions` are open now, over all workers; `url` has no login in it."""

    name: str
    state: str
    why: str | None
    until: datetime | None
    since: datetime | None
    sessions: int
    workers: int
    last_failure: str | None
    last_failure_at: datetime | None
    url: str | None
    slowed: str | None = None
    """What it said when it asked for less; sessions and rate grow back until `slowed_until`."""
    slowed_until: datetime | None = None
    held_senders: tuple[str, ...] = ()
    """Senders (addresses, domains) that it takes nothing from for now, each with its reason."""

    def __str__(self) -> str:
        return str(RouteStatus(self.name, self.state, self.why, self.until))


def relay_status(
    name: str, told: Mapping[str, str], crews: Sequence[Mapping[str, str]], now_ms: int = 0
) -> RelayStatus:
    """`told`: its record, with `paused_at` where a person has paused it; `crews`: what the live workers say."""
    route = route_status(name, told)
    mine = [crew for crew in crews if name in crew.get("relays", "").split(",")]
    state, why = route.state, route.why
    if not mine and state == "ok":
        state, why = UNSERVED, "no running worker has it"
    failure, at = _last_failure(told, route)
    return RelayStatus(
        name=name,
        state=state,
        why=why,
        until=route.until,
        since=route.since,
        sessions=sum(_number(crew.get(f"sessions:{name}")) for crew in mine),
        workers=len(mine),
        last_failure=failure,
        last_failure_at=at,
        url=told.get("url") or None,
        **_noted(told, now_ms),
    )


class _Noted(TypedDict):
    slowed: str | None
    slowed_until: datetime | None
    held_senders: tuple[str, ...]


def _noted(told: Mapping[str, str], now_ms: int) -> _Noted:
    slow = slowed_in(told)
    lasting = slow if slow is not None and slow.until_ms > now_ms else None
    asleep = {who: one for who, one in sorted(sleeping_in(told).items()) if one.until_ms > now_ms}
    return {
        "slowed": lasting and lasting.why,
        "slowed_until": utc(lasting.until_ms) if lasting else None,
        "held_senders": tuple(f"{who.removeprefix('@')}: {one.why}" for who, one in asleep.items()),
    }


def _last_failure(told: Mapping[str, str], route: RouteStatus) -> tuple[str | None, datetime | None]:
    """What was said last in the last opening that came to nothing; else why the route is closed."""
    closed = None if route.why == PAUSED_BY_YOU else route.why
    try:
        talk = parse_talk(told["talk"]) if told.get("talk") else None
    except DecodeError:
        talk = None
    if talk is None or not talk.lines:
        return closed, None
    said = [line.text for line in talk.lines if line.dir == "<"] or [line.text for line in talk.lines]
    return (closed or said[-1])[:_SHOWN], utc(talk.at_ms)


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


async def crews_of(connection: Connection) -> dict[str, dict[str, str]]:
    """What each live worker says of itself."""
    names = await browse.live_workers(connection)
    answers = await connection.commands([("HGETALL", connection.keys.worker(name)) for name in names])
    found = {name: as_fields(answer) for name, answer in zip(names, answers, strict=True)}
    return {name: fields for name, fields in found.items() if fields.get("relays") is not None}


async def relay_statuses(connection: Connection) -> tuple[RelayStatus, ...]:
    """Every relay that is known, by name."""
    crews = await crews_of(connection)
    names = sorted({*await _known(connection, crews), *await _pinned(connection), *await _recorded(connection)})
    told = await browse.routes_told(connection, names)
    now_ms = await browse.now_ms(connection)
    return tuple(relay_status(name, fields, list(crews.values()), now_ms) for name, fields in told.items())


async def one_relay(connection: Connection, name: str) -> RelayStatus:
    """One that is known."""
    told = await browse.routes_told(connection, [name])
    crews = list((await crews_of(connection)).values())
    return relay_status(name, told[name], crews, await browse.now_ms(connection))


async def is_known(connection: Connection, name: str) -> bool:
    """Without looking through the keys for records of others."""
    if name in await _known(connection, await crews_of(connection)):
        return True
    return bool(await connection.command("EXISTS", connection.keys.route(name)))


async def known_relay(connection: Connection, name: str) -> str:
    """The name, if somebody knows it. Raises NotFound with the known ones."""
    if await is_known(connection, name) or name in await _pinned(connection):
        return name
    known = [relay.name for relay in await relay_statuses(connection)]
    words = f"known are {', '.join(known)}." if known else "neither the settings nor a running worker have one."
    raise NotFound(f'no relay "{name[:60]}": {words}{did_you_mean(name, known)}', code="no_such_relay")


async def _known(connection: Connection, crews: Mapping[str, Mapping[str, str]]) -> set[str]:
    """By the settings, the live workers, and the pauses."""
    offered = {name for crew in crews.values() for name in crew.get("relays", "").split(",")}
    paused = await connection.fields(connection.keys.paused)
    stopped = {what.removeprefix("relay:") for what in paused if what.startswith("relay:")}
    return {*connection.settings.relay_names(), *offered, *stopped} - {""}


async def _pinned(connection: Connection) -> set[str]:
    """By the latest batches."""
    keys = connection.keys
    latest = await browse.latest(connection, _PINNED_AMONG)
    found = await connection.commands([("HGET", keys.batch(batch), "relay") for batch in latest], broken=True)
    return {relay.decode("utf-8", "replace") for relay in found if isinstance(relay, bytes) and relay}


async def _recorded(connection: Connection) -> set[str]:
    """By what workers have written; also of relays that nobody has any more."""
    start = connection.keys.route("")
    cursor, found = 0, set()
    for _ in range(_SCANS):
        try:
            answer = await connection.command("SCAN", cursor, "MATCH", f"{_literal(start)}*", "COUNT", _SCANNED_AT_ONCE)
        except ConfigError:  # this user may not see names (deploy/users.acl); relays in use are known without
            break
        cursor, names = cast("tuple[int, list[bytes]]", answer)
        found |= {name.decode("utf-8", "replace").removeprefix(start) for name in names}
        if not cursor:
            break
    return found


def _literal(prefix: str) -> str:
    """A glob that matches these letters alone."""
    return "".join(f"\\{sign}" if sign in "*?[]\\^" else sign for sign in prefix)
