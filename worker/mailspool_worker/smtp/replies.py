"""What a server answers: bytes off the wire become replies, within limits.

Called by the session (`ReplyParser`), by whatever opens a connection (`Reply.of`), by classify and the log lines.
Raises `ReplyError` for anything that is no SMTP reply; the session is then useless and must be aborted. The replies
that were complete before the bad line are in `ReplyError.replies`: a 5xx that was read counts whatever noise follows.
Line ends may be CRLF or LF, as servers in the field send both. Texts are kept as bytes; `Reply.text` is the one cleaned
line that may be shown, stored and logged (it may hold addresses: see `mask_addresses`).
Known limit: a last line without its line end waits for the caller's deadline.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

MAX_REPLY_BYTES: Final = 32 * 1024
"""A whole reply with its line ends. The longest honest ones (EHLO, Gmail's refusals) stay below 2 KiB."""
MAX_REPLY_LINES: Final = 100
MAX_TEXT_CHARS: Final = 300
"""What is kept of a reply for people: it is stored once for every message that is not sent."""
MAX_BODY_CHARS: Final = 2_000
"""What text rules look at: longer than any refusal seen in the field, short enough for every pattern."""

EnhancedCode = tuple[int, int, int]

_CODES: Final = {b"%d" % code: code for code in range(200, 600)}
_LAST: Final = {b"%d " % code: code for code in range(200, 600)}
"""The first four bytes of a last line: one look-up tells a whole single-line reply, which is nearly all of them."""

_ENHANCED: Final = re.compile(rb"(?:^[\s(\[]*(?:\d{3}[ -])?|#)([245])\.(\d{1,3})\.(\d{1,3})(?!\.?\d)")
"""At the start of a line (relays repeat the basic code before it), or anywhere after `#` as qmail writes it."""
_ENHANCED_HEAD: Final = re.compile(r"#?[245]\.\d{1,3}\.\d{1,3}(?!\.?\d)")
_JOINERS: Final = "\u200c\u200d"
"""Invisible, but part of words in Persian and Indic scripts; all other format characters may reorder a line."""
_SPACES: Final = re.compile(r" {2,}")
_ANGLED: Final = re.compile(r"<[^<>]*+>")
_QUOTED_LOCAL_PART: Final = re.compile(r'"[^"<>]*+"(?=@)')
_WORD: Final = re.compile(r"[^\s<>]++")
_DOMAIN: Final = re.compile(r"[\w-]++(?:\.[\w-]++)*+")
MASK: Final = "<address>"


class ReplyError(ValueError):
    """These bytes are no SMTP reply. Holds what was complete before them; says nothing of their content."""

    def __init__(self, problem: str, replies: tuple[Reply, ...] = (), line: bytes = b"") -> None:
        super().__init__(problem)
        self.problem = problem
        self.replies = replies
        self.line = line
        """The line that is none, as it came; empty where it is only too long."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """One whole reply. `lines` are the texts after code and separator, without line ends, never empty."""

    code: int
    lines: tuple[bytes, ...]

    @classmethod
    def of(cls, code: int, message: str) -> Reply:
        """From what aiosmtplib hands over: a code and its lines as text (undecodable bytes as surrogates)."""
        return cls(code, tuple(_encode(message).splitlines()) or (b"",))

    @property
    def enhanced(self) -> EnhancedCode | None:
        """The first enhanced status code (RFC 3463) on any line whose class agrees with the basic code."""
        for line in self.lines:
            for found in _ENHANCED.finditer(line):
                status = int(found[1]), int(found[2]), int(found[3])
                if status[0] == self.code // 100:
                    return status
        return None

    @property
    def body(self) -> str:
        """All lines as one cleaned line, without the basic code and without repetitions of the first enhanced code."""
        texts = [_clean(line) for line in self.lines]
        first = _ENHANCED_HEAD.match(texts[0]) if len(texts) > 1 else None
        if first is not None:
            texts[1:] = [_without_head(text, first[0]) for text in texts[1:]]
        return " ".join(text for text in texts if text)[:MAX_BODY_CHARS]

    @property
    def text(self) -> str:
        """One line for people, with the basic code: `550 5.1.1 No such user`. At most 300 characters."""
        text = f"{self.code} {self.body}".rstrip()
        return text if len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - 3].rstrip() + "..."


def _encode(message: str) -> bytes:
    """Lone surrogates that do not stand for a byte cannot be encoded back; they become question marks."""
    try:
        return message.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return message.encode("utf-8", "replace")


def _clean(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    shown = "".join([char if char.isprintable() or char in _JOINERS else " " for char in text])
    return _SPACES.sub(" ", shown).strip()


def _without_head(text: str, head: str) -> str:
    own = _ENHANCED_HEAD.match(text)
    return text[own.end() :].lstrip() if own is not None and own[0] == head else text


def mask_addresses(text: str) -> str:
    """The text with every mail address replaced: for logs, and so that no rule reads words out of an address.

    Linear in the length of the text, whatever a server writes.
    """
    if "@" not in text:
        return text
    angled = _ANGLED.sub(lambda found: MASK if "@" in found[0] else found[0], text)
    return _WORD.sub(_mask_word, _QUOTED_LOCAL_PART.sub("", angled))


def _mask_word(found: re.Match[str]) -> str:
    before, at, after = found[0].rpartition("@")
    if not at:
        return before + after
    domain = _DOMAIN.match(after)
    return MASK + (after[domain.end() :] if domain else after)


class ReplyParser:
    """Incremental: any split of a byte stream gives the same replies, and an error at the same reply.

    The fast path is a single-line reply that lies whole in the data; four of them cost about as much as one syscall.
    """

    __slots__ = ("_broken", "_code", "_lines", "_rest", "_size")

    def __init__(self) -> None:
        self._rest = bytearray()  # the line that has no end yet
        self._lines: list[bytes] = []  # of the reply that has no last line yet; the same list for ever
        self._size = 0  # bytes of those lines on the wire
        self._code = 0
        self._broken = ""

    @property
    def partial(self) -> bool:
        """Bytes of an unfinished reply are held."""
        return bool(self._rest or self._lines)

    def feed(self, data: bytes) -> list[Reply]:
        """All replies that are complete now. After a ReplyError every further call raises it again."""
        if self._broken:
            raise ReplyError(self._broken)
        whole = data
        if self._rest:
            self._rest += data
            if b"\n" not in data:
                self._bound(len(self._rest), [])
                return []
            whole = bytes(self._rest)
            self._rest.clear()
        wire_lines = whole.split(b"\n")
        rest = wire_lines.pop()
        open_lines = self._lines
        bounded = len(whole) <= MAX_REPLY_BYTES
        replies: list[Reply] = []
        for line in wire_lines:
            code = _LAST.get(line[:4])
            if code is None or open_lines or not bounded:
                self._take(line, replies)  # slow, and it checks everything
            else:
                replies.append(Reply(code, (line[4:].rstrip(),)))
        if rest:
            self._rest += rest
            self._bound(len(rest), replies)
        return replies

    def _take(self, line: bytes, replies: list[Reply]) -> None:
        """One line of a multiline, bare or malformed reply."""
        self._bound(len(line) + 1, replies)
        code = _CODES.get(line[:3], 0)
        if not code:
            self._fail("a line does not start with a reply code from 200 to 599", replies, line)
        if self._lines and code != self._code:
            self._fail(f"one reply mixes the codes {self._code} and {code}", replies, line)
        text = line[4:].rstrip()
        separator = line[3:4]
        if separator not in (b" ", b"-") and (text or separator not in (b"", b"\r")):
            self._fail("a reply code is followed by neither space, hyphen nor line end", replies, line)
        self._code = code
        self._lines.append(text)
        if separator == b"-":
            self._size += len(line) + 1
            if len(self._lines) >= MAX_REPLY_LINES:
                self._fail(f"a reply is longer than {MAX_REPLY_LINES} lines", replies)
            return
        replies.append(Reply(code, tuple(self._lines)))
        self._lines.clear()
        self._size = 0

    def _bound(self, more: int, replies: list[Reply]) -> None:
        if self._size + more > MAX_REPLY_BYTES:
            self._fail(f"a reply is longer than {MAX_REPLY_BYTES} bytes", replies)

    def _fail(self, problem: str, replies: list[Reply], line: bytes = b"") -> None:
        self._broken = problem
        raise ReplyError(problem, tuple(replies), line)
