"""The panic button on a real spool: what pauses, what status says, what goes on; and the relays that are known."""

from __future__ import annotations

import pytest

from mailspool import Batch, InputError, Message, NotFound, Settings, Spool
from mailspool.client.relays import relay_status
from mailspool.status import PAUSED_BY_YOU
from tests.support.hand import Hand

NEWS = Message(from_="Shop <shop@x.test>", subject="News", text="Hi\n")
RESET = NEWS.replace(to="ali@x.test")


async def queue(spool: Spool, count: int) -> Batch:
    return await spool.send_batch(NEWS, [f"u{n}@y.test" for n in range(count)])


async def waiting_for(batch: Batch) -> str:
    return (await batch.status()).waiting_for or ""


async def test_the_whole_spool(spool: Spool, hand: Hand) -> None:
    batch, reset = await queue(spool, 5), await spool.send(RESET)
    assert (await spool.pause(), await spool.pause()) == (6, 0)
    assert await hand.work(batch.id) == await hand.work(reset.id, class_="transactional") == 0
    for one in (batch, reset):
        assert (await waiting_for(one)).startswith("the spool is paused by you since ")
    (pause,) = (await spool.status()).paused
    assert (pause.what, str(pause)) == ("spool", "the spool is paused by you")
    assert "the spool is paused by you" in str(await spool.status())
    assert (await spool.resume(), await spool.resume()) == (6, 0)
    assert await hand.work(batch.id) + await hand.work(reset.id, class_="transactional") == 6
    assert (await spool.status()).paused == ()


async def test_a_class_alone(spool: Spool, hand: Hand) -> None:
    batch, reset = await queue(spool, 5), await spool.send(RESET)
    assert await spool.pause("bulk") == 5
    assert (await waiting_for(batch)).startswith("bulk mail is paused by you since ")
    assert not (await waiting_for(reset)).startswith("bulk mail")
    assert await hand.work(batch.id) == 0
    assert await hand.work(reset.id, class_="transactional") == 1
    await spool.pause()
    assert await spool.resume() == 5
    assert (await waiting_for(batch)).startswith("bulk mail is paused by you since ")
    assert await spool.resume("bulk") == 5
    assert await hand.work(batch.id) == 5


async def test_since_when_stays(spool: Spool) -> None:
    connection = await spool.connection()
    await connection.moves.pause("spool", now_ms=1_000)
    await spool.pause()
    (pause,) = (await spool.status()).paused
    assert pause.since is not None
    assert pause.since.timestamp() == 1


async def test_a_class_that_there_is_not(spool: Spool) -> None:
    for wrong in (spool.pause, spool.resume):
        with pytest.raises(InputError, match=r'no class "fast": transactional and bulk'):
            await wrong("fast")  # type: ignore[arg-type]  # the mistake
    assert (await spool.status()).paused == ()


async def test_one_relay(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 5)
    await hand.beat()
    assert (await spool.pause_relay("main"), await spool.pause_relay("main")) == (True, False)
    assert (await waiting_for(batch)).startswith("relay main paused by you since ")
    (route,) = (await spool.status()).routes
    assert (route.state, route.why, str(route)) == ("paused", PAUSED_BY_YOU, "relay main paused by you")
    assert route.since is not None
    (relay,) = await spool.relays()
    assert (relay.state, relay.since, str(relay)) == ("paused", route.since, "relay main paused by you")
    connection = await spool.connection()
    told = await connection.fields(connection.keys.paused)
    assert list(told) == ["relay:main"]
    assert (await spool.resume_relay("main"), await spool.resume_relay("main")) == (True, False)
    assert (await connection.fields(connection.keys.route("main")))["resumed"] == "2"
    assert await waiting_for(batch) == ""
    assert [one.state for one in (await spool.status()).routes] == ["ok"]


async def test_another_relay_carries_it(spool: Spool, hand: Hand) -> None:
    batch = await queue(spool, 5)
    await Hand(hand.connection, relays=("main", "eu")).beat()
    await spool.pause_relay("main")
    assert await waiting_for(batch) == ""
    await spool.pause_relay("eu")
    assert (await waiting_for(batch)).count(" paused by you since ") == 2


async def test_relays_are_known_by_settings_workers_batches_pauses_and_records(settings: Settings) -> None:
    mine = settings.model_copy(update={"relay_url": "smtp://127.0.0.1:2525"})
    async with Spool(mine) as spool:
        connection = await spool.connection()
        await Hand(connection, relays=("eu", "us")).beat()
        await spool.send(RESET, relay="us")
        await connection.command("HSET", connection.keys.batch((await spool.batch("last")).id), "relay", "pinned")
        await connection.moves.pause("relay:stopped")
        await connection.command("HSET", connection.keys.route("old"), "state", "waiting", "why", "refused")
        found = {relay.name: relay.state for relay in await spool.relays()}
        assert found == {
            "eu": "ok", "main": "unserved", "old": "waiting", "pinned": "unserved", "stopped": "paused", "us": "ok",
        }  # fmt: skip
        for name in found:
            await spool.pause_relay(name)
            await spool.resume_relay(name)
        for change in (spool.pause_relay, spool.resume_relay):
            with pytest.raises(NotFound, match=r'no relay "maim": known are eu, main, .*\. Did you mean "main"\?$'):
                await change("maim")
            for name in ("", "relay:main", "a b", "*"):
                with pytest.raises(NotFound, match=r"no relay"):
                    await change(name)
        assert await connection.fields(connection.keys.paused) == {}


async def test_a_redis_user_that_may_not_see_names(spool: Spool, hand: Hand) -> None:
    await hand.beat()
    connection = await spool.connection()
    await connection.command("HSET", connection.keys.route("old"), "state", "waiting")
    await connection.command("ACL", "SETUSER", "default", "-scan")
    try:
        assert [relay.name for relay in await spool.relays()] == ["main"]
        with pytest.raises(NotFound, match=r"known are main\."):
            await spool.pause_relay("new")
        assert await spool.pause_relay("old")
    finally:
        await connection.command("ACL", "SETUSER", "default", "+scan")


async def test_no_relay_at_all(spool: Spool) -> None:
    assert await spool.relays() == ()
    with pytest.raises(NotFound, match=r'no relay "main": neither the settings nor a running worker have one\.$'):
        await spool.pause_relay("main")


def test_sessions_are_those_of_all_workers_that_have_it() -> None:
    crews = [{"relays": "main,eu", "sessions:main": "3", "sessions:eu": "2"}, {"relays": "main", "sessions:main": "4"}]
    assert (relay_status("main", {}, crews).sessions, relay_status("main", {}, crews).workers) == (7, 2)
    crews.append({"relays": "us", "sessions:eu": "9"})
    assert (relay_status("eu", {}, crews).sessions, relay_status("eu", {}, crews).workers) == (2, 1)
    assert relay_status("main", {}, [{"relays": "main", "sessions:main": "x"}]).sessions == 0
