"""The MIME tree of a batch as bytes with slots: laid out once, filled a mail at a time. Pure.

Called by mime.py. Pieces are bytes, a `Slot` (filled per mail) or a `Shared` run of bytes that every mail has in common
(a base64 attachment): it is handed out as the same object in each mail, never copied. A body always ends at a line
end, so that boundaries, slots and shared runs begin lines and a session may stuff dots piece by piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

_SHARE_FROM = 16_384
"""A constant text of this size is worth a piece of its own: copying less costs less than one more write."""


class Slot(NamedTuple):
    key: str


class Shared(NamedTuple):
    data: bytes


Piece = bytes | Slot | Shared


class Leaf(NamedTuple):
    """A body part: its pieces end at a line end."""

    pieces: tuple[Piece, ...]


class Multi(NamedTuple):
    """A multipart; `level` (one letter) tells its boundary from the others of the same mail."""

    subtype: str
    level: str
    children: tuple[Part, ...]


Part = Leaf | Multi


def pieces_of(part: Part) -> list[Piece]:
    """Headers and body of a part, boundaries included."""
    if isinstance(part, Leaf):
        return list(part.pieces)
    boundary = Slot(f"boundary:{part.level}")
    extra = b' type="text/html";' if part.subtype == "related" else b""  # RFC 2387, 3.1
    pieces: list[Piece] = [b'Content-Type: multipart/%b;%b\r\n boundary="' % (part.subtype.encode(), extra)]
    pieces += [boundary, b'"\r\n\r\n']
    for child in part.children:
        pieces += [b"--", boundary, b"\r\n", *pieces_of(child)]
    return [*pieces, b"--", boundary, b"--\r\n"]


def constant_body(data: bytes) -> Piece:
    return Shared(data) if len(data) >= _SHARE_FROM else data


def begins_with_dot(segments: Iterable[bytes]) -> bool:
    """May a line of the mail that is joined of them begin with a dot? A segment may begin anywhere in a line."""
    return any(segment[:1] == b"." or b"\n." in segment for segment in segments)


class Frame:
    """Segments to join. `segments` is copied for each mail; `places` says which of them a key fills."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.segments: list[bytes] = []
        self.places: dict[str, tuple[int, ...]] = {}
        self._shared: list[bytes] = []
        self._cuts: list[int] = [0]
        pending = b""
        for piece in pieces:
            if isinstance(piece, bytes):
                pending += piece
                continue
            self.segments.append(pending)
            pending = b""
            if isinstance(piece, Slot):
                self.places[piece.key] = (*self.places.get(piece.key, ()), len(self.segments))
                self.segments.append(b"")
            else:
                self._cuts.append(len(self.segments))
                self._shared.append(piece.data)
        self.segments.append(pending)
        self._cuts.append(len(self.segments))
        self.shared_size = sum(map(len, self._shared))

    @property
    def constants(self) -> list[bytes]:
        """Everything that does not change from mail to mail."""
        return [*self.segments, *self._shared]

    def join(self, segments: Sequence[bytes]) -> tuple[bytes, ...]:
        """The filled segments as the mail's pieces, shared ones in between."""
        if not self._shared:
            return (b"".join(segments),)
        cuts, pieces = self._cuts, []
        for i, shared in enumerate(self._shared):
            own = b"".join(segments[cuts[i] : cuts[i + 1]])
            if own:
                pieces.append(own)
            pieces.append(shared)
        pieces.append(b"".join(segments[cuts[-2] :]))
        return tuple(piece for piece in pieces if piece)
