"""One server for all tests of the moves; each test begins with an empty one and a world of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.storm.server import Link, Server
from tests.storm.world import World


@pytest.fixture(scope="session")
def link() -> Iterator[Link]:
    with Server() as server:
        link = Link(server.socket)
        yield link
        link.close()


@pytest.fixture
def world(link: Link) -> World:
    """Every call is judged by the storm's auditor (accounts included) and sent twice."""
    world = World(0, link)
    world.again = 1.0
    world.claiming = False
    world.calm = True
    return world
