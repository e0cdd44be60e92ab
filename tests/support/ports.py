"""A TCP port for a server that wants to be told one."""

from __future__ import annotations

import contextlib
import random
import socket


def free_port() -> int:
    """Free a moment ago, and none that the system gives to others by itself: suites run beside each other."""
    while True:
        port = random.randrange(12_000, 32_000)  # below Linux' ephemeral ports
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
