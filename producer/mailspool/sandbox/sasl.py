"""AUTH PLAIN and AUTH LOGIN as the server sees them (RFC 4954, 4616): one step a line, no I/O.

Used by dialogue.py. Raises Refused (grammar.py) with the reply for a broken exchange. Neither credentials nor lines are
kept, logged or put into replies.
"""

from __future__ import annotations

import binascii
import hmac
from dataclasses import dataclass, field
from typing import Final, Literal

from mailspool.sandbox.grammar import Refused

Mechanism = Literal["PLAIN", "LOGIN"]

RESPONSE_OCTETS: Final = 12_288
"""The longest line of an exchange (RFC 4954, section 4)."""
_ASK_USER: Final = "334 VXNlcm5hbWU6"
_ASK_PASSWORD: Final = "334 UGFzc3dvcmQ6"  # noqa: S105 - the word "Password:" in base64, as the mechanism wants


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the client claims to be."""

    user: str
    password: str = field(repr=False)

    def match(self, user: str, password: str) -> bool:
        """Both comparisons always run, in constant time."""
        same_user = hmac.compare_digest(self.user.encode(), user.encode())
        same_password = hmac.compare_digest(self.password.encode(), password.encode())
        return same_user and same_password


class Exchange:
    """One AUTH command and the lines that belong to it."""

    __slots__ = ("_mechanism", "_user")

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism
        self._user: str | None = None

    @classmethod
    def begin(cls, argument: str) -> tuple[Exchange, str | Credentials]:
        """From what follows `AUTH `, with or without an initial response: the exchange, and a challenge or the end."""
        name, _, initial = argument.partition(" ")
        mechanism: Mechanism
        if name.upper() == "PLAIN":
            mechanism = "PLAIN"
        elif name.upper() == "LOGIN":
            mechanism = "LOGIN"
        else:
            raise Refused("504 5.5.4 mechanism not offered")
        exchange = cls(mechanism)
        if initial:
            return exchange, exchange.step("" if initial == "=" else initial)
        return exchange, "334 " if mechanism == "PLAIN" else _ASK_USER

    def step(self, response: str) -> str | Credentials:
        """The client's next line: another challenge, or the credentials."""
        if response == "*":
            raise Refused("501 5.7.0 authentication cancelled")
        text = _decoded(response)
        if self._mechanism == "PLAIN":
            parts = text.split("\0")
            if len(parts) != 3:
                raise Refused("501 5.5.2 PLAIN wants authzid NUL user NUL password")
            return Credentials(parts[1], parts[2])
        if self._user is None:
            self._user = text
            return _ASK_PASSWORD
        return Credentials(self._user, text)


def _decoded(response: str) -> str:
    try:
        return binascii.a2b_base64(response.encode("ascii"), strict_mode=True).decode("utf-8")
    except ValueError:  # binascii.Error, UnicodeEncodeError and UnicodeDecodeError are all ValueErrors
        raise Refused("501 5.5.2 not base64 of UTF-8") from None
