"""Openings that fail: what is read, what is told, and what is never told."""

from __future__ import annotations

import asyncio

import pytest

from mailspool_worker.classify import Loss, Stage
from mailspool_worker.smtp.deadlines import Waits
from mailspool_worker.smtp.takeover import OpenFailed, tls_context
from mailspool_worker.smtp.transaction import Features
from tests.support.scripted_server import Dialogue, Peer, Scripted
from tests.support.waiting import until
from tests.worker.smtp.conftest import Run, Trust
from tests.worker.smtp.test_takeover import (
    PATIENT,
    REFUSED,
    _handshake_of_noise,
    _no_starttls,
    _refuses_starttls,
    _silent,
    against,
    auth,
    finish,
    is_over,
    open_to,
    relay,
    starttls,
)


def test_a_server_that_refuses_ehlo_gets_helo(run: Run) -> None:
    async def old(peer: Peer) -> None:
        peer.say("220 old.test")
        await peer.expect("EHLO")
        peer.say("502 5.5.1 what is EHLO?")
        await peer.expect("HELO")
        peer.say("250 old.test")
        await peer.gone()

    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port))
        assert opened.features == [Features()]
        finish(opened)

    run(against(old, look))


def test_replies_after_the_takeover_reach_the_session(run: Run) -> None:
    async def closes(peer: Peer) -> None:
        await peer.greet()
        peer.say("421 4.4.2 idle")
        await peer.gone()

    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port))
        await is_over(opened)

    run(against(closes, look))


def test_a_connection_that_ends_after_ehlo_is_noticed_at_once(run: Run) -> None:
    async def closes(peer: Peer) -> None:
        await peer.greet()
        peer.writer.close()

    async def look(server: Scripted) -> None:
        for _ in range(20):
            opened = await open_to(relay(server.port))
            assert opened.failed is None or opened.words == ("EHLO", "closed")
            await is_over(opened)

    run(against(closes, look))


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_session(run: Run, case: str) -> None:
    dialogue, words, chance = REFUSED[case]

    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port), waits=Waits(0.3, 0.3) if case == "silence" else PATIENT)
        assert opened.words == words
        assert opened.failed is not None
        assert opened.failed.may_be_chance is chance
        assert opened.features == []

    run(against(dialogue, look))


def test_tls_that_never_comes(run: Run, trust: Trust) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "tls"), trust=trust.client, waits=PATIENT._replace(connect_s=0.2))
        assert opened.words == ("CONNECT", "timeout")

    run(against(_silent, look))


def test_a_receiver_may_greet_later_than_it_must_connect(run: Run) -> None:
    greet = asyncio.Event()

    async def late(peer: Peer) -> None:
        await greet.wait()
        peer.say("220 scripted.test")
        await peer.expect("EHLO")
        peer.say("250 scripted.test")
        await peer.gone()

    async def look(server: Scripted) -> None:
        asyncio.get_running_loop().call_later(0.4, greet.set)
        opened = await open_to(relay(server.port), waits=PATIENT._replace(connect_s=0.2))
        assert opened.failed is None
        finish(opened)

    run(against(late, look))


def test_a_reply_has_its_own_deadline(run: Run) -> None:
    async def greets(peer: Peer) -> None:
        peer.say("220 scripted.test")
        await peer.gone()

    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port), waits=PATIENT._replace(reply_s=0.2))
        assert opened.words == ("EHLO", "timeout")

    run(against(greets, look))


def test_nobody_listens(run: Run) -> None:
    async def look() -> None:
        async with Scripted(_silent) as server:
            port = server.port
        opened = await open_to(relay(port))
        assert opened.words == ("CONNECT", "refused")

    run(look())


def test_a_cancelled_opening_leaves_no_connection(run: Run) -> None:
    ended = asyncio.Event()

    async def waits(peer: Peer) -> None:
        peer.say("220 scripted.test")
        await peer.expect("EHLO")
        await peer.gone()
        ended.set()

    async def look(server: Scripted) -> None:
        task = asyncio.create_task(open_to(relay(server.port)))
        await until(lambda: bool(server.connections), "a connection")
        task.cancel()
        await asyncio.wait((task,))
        await ended.wait()

    run(against(waits, look))


@pytest.mark.parametrize("security", ["starttls", "opportunistic"])
def test_after_starttls_only_the_second_ehlo_counts(run: Run, trust: Trust, security: str) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, security), trust=trust.client)
        assert opened.features == [Features(size_limit=4711, tells_size=True)]
        finish(opened)

    run(against(starttls(trust.server), look))


def test_replies_injected_behind_starttls_are_not_believed(run: Run, trust: Trust) -> None:
    """Before the handshake anybody on the way can write them; the connection is given up, or they are thrown away."""

    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "starttls"), trust=trust.client, waits=PATIENT._replace(reply_s=2.0))
        assert not any(features.pipelining for features in opened.features)
        finish(opened)

    run(against(starttls(trust.server, injected=True), look))


@pytest.mark.parametrize(
    ("dialogue", "words"),
    [
        (_refuses_starttls, ("STARTTLS", "454")),
        (_no_starttls, ("STARTTLS", "no_tls")),
        (_handshake_of_noise, ("STARTTLS", "tls")),
    ],
)
def test_required_tls_that_is_not_to_be_had(run: Run, dialogue: Dialogue, words: tuple[str, str]) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "starttls"))
        assert opened.words == words
        assert opened.features == []

    run(against(dialogue, look))


def test_a_certificate_that_nobody_vouches_for(run: Run, trust: Trust) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "starttls"), trust=tls_context(verify=True))
        assert opened.words == ("STARTTLS", "tls")
        assert opened.failed is not None
        assert "self-signed" in opened.failed.words or "self signed" in opened.failed.words
        unchecked = await open_to(relay(server.port, "starttls", verify=False))
        assert unchecked.failed is None
        finish(unchecked)

    run(against(starttls(trust.server), look))


def test_in_clear_where_that_was_decided(run: Run, trust: Trust) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port), clear=True)
        assert opened.features == [Features(pipelining=True)]
        finish(opened)

    async def serve(peer: Peer) -> None:
        await peer.greet("STARTTLS", "PIPELINING")
        await peer.gone()

    run(against(serve, look))


def test_tls_from_the_first_byte(run: Run, trust: Trust) -> None:
    async def serve(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.gone()

    async def look() -> None:
        async with Scripted(serve, tls=trust.server) as server:
            opened = await open_to(relay(server.port, "tls"), trust=trust.client)
            assert opened.features == [Features(pipelining=True)]
            finish(opened)
            wrong = await open_to(relay(server.port, "tls"), trust=tls_context(verify=True))
            assert wrong.words == ("STARTTLS", "tls")

    run(look())


@pytest.mark.parametrize(
    ("dialogue", "words"),
    [
        (auth("535 5.7.8 no"), ("AUTH", "535")),
        (auth("454 4.7.0 later"), ("AUTH", "454")),
        (auth(offered=""), ("AUTH", "no_mechanism")),
        (auth(offered="AUTH GSSAPI"), ("AUTH", "no_mechanism")),
    ],
)
def test_a_login_that_fails(run: Run, dialogue: Dialogue, words: tuple[str, str]) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "none", user="ali"))
        assert opened.words == words
        assert opened.failed is not None
        assert not opened.failed.may_be_chance, "too many refused logins lock an account"
        assert "secret" not in opened.failed.words

    run(against(dialogue, look))


@pytest.mark.parametrize("told", ["secret", "c2VjcmV0", "AGFsaQBzZWNyZXQ="])
def test_a_refusal_that_repeats_the_password_is_told_without_it(run: Run, told: str) -> None:
    """In clear, as LOGIN and as PLAIN encode it: these words are logged, and stored for `status`."""

    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "none", user="ali"))
        assert opened.failed is not None
        assert opened.failed.words.startswith("535 5.7.8 bad login ****")
        assert told.rstrip("=") not in opened.failed.words

    run(against(auth(f"535 5.7.8 bad login {told}"), look))


def test_a_login_that_goes_well(run: Run) -> None:
    async def look(server: Scripted) -> None:
        opened = await open_to(relay(server.port, "none", user="ali"))
        assert opened.failed is None
        finish(opened)

    run(against(auth("235 2.7.0 welcome"), look))


def test_stages_are_those_of_classify() -> None:
    assert OpenFailed(Stage.CONNECT, Loss.REFUSED, "words").words == "words"
