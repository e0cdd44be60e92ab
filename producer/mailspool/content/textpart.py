"""The text part of a mail that was given as HTML only.

Called by message.py when a spec is made. Links keep their targets: `[here](https://...)`. In a template the Jinja tags
are set aside, the HTML around them is turned into text, and the tags are put back where they stood; loops over table
rows become lines of their own. Where that is not possible (a tag would end up in another place, as with a loop over
table cells) InputError asks for a text: a wrong one is never made up.
Known limit: values that hold HTML (`{{ x|safe }}`) stand in the text as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mailspool.content.guesses import is_template
from mailspool.content.render import Field, Templates, tags_of
from mailspool.errors import InputError

_OPEN, _CLOSE = "\ue000", "\ue001"
"""Private-use characters (Unicode 23.3): they stand for nothing else, and no HTML parser touches them."""
_BLOCK = f"{_OPEN}b[0-9]+{_CLOSE}"
_MARK = re.compile(f"{_OPEN}[bv]([0-9]+){_CLOSE}")
_ONLY_BLOCKS = re.compile(rf"^[ \t]*((?:{_BLOCK}[ \t]*)+)\n(?:[ \t]*\n)?", re.MULTILINE)
"""A line (or paragraph) of nothing but block tags: it leaves no line of its own in the text."""
_TRIM_LEFT, _TRIM_RIGHT = re.compile(r"^(\{[{%#])[-+]"), re.compile(r"[-+]([}%#]\})\s*$")
"""White space control: right between tags of HTML, wrong between lines of text."""
_BETWEEN_ROWS = re.compile(
    rf"(<(?:/tr|/?(?:table|thead|tbody|tfoot))\b[^>]*>\s*)((?:{_BLOCK}\s*)+)(?=<(?:tr|/?(?:table|thead|tbody|tfoot))\b)",
    re.IGNORECASE,
)
_ASK = 'give text="..." (or text="" for a mail without a text part)'


def text_of(html: str, *, template: bool) -> str:
    """The text of an HTML page or of an HTML template. Raises InputError."""
    if _OPEN in html or _CLOSE in html:
        raise InputError(f"html holds characters of Unicode's private use area: {_ASK}.", code="no_text_part")
    if not template or not is_template(html):
        return _plain(html)
    Templates([Field("html", "html", html, html=True)])  # what is wrong with the html is told of the html
    marked, tags = _set_aside(html)
    marked = _BETWEEN_ROWS.sub(r"\1<tr><td>\2</td></tr>", marked)
    text = _ONLY_BLOCKS.sub(lambda found: "".join(found[1].split()), _plain(marked))
    if not _same_order(marked, text):
        raise InputError(f"No text can be made of this html (a tag inside a table row?): {_ASK}.", code="no_text_part")
    text = _MARK.sub(lambda mark: tags[int(mark[1])], text)
    try:
        Templates([Field("text", "text", text)])
    except InputError:
        raise InputError(f"No text can be made of this html: {_ASK}.", code="no_text_part") from None
    return text


def _plain(html: str) -> str:
    # Imported here: it loads lxml, which only html without text needs.
    from inscriptis import get_text  # type: ignore[import-untyped]  # it publishes no types
    from inscriptis.model.config import ParserConfig  # type: ignore[import-untyped]  # the same

    found: str = get_text(html, ParserConfig(display_links=True))
    lines = [line.rstrip() for line in found.split("\n")]
    return "\n".join(lines).strip("\n") + "\n"


def _set_aside(html: str) -> tuple[str, Mapping[int, str]]:
    tags: dict[int, str] = {}
    marked = []
    for kind, source in tags_of(html):
        if not kind:
            marked.append(source)
            continue
        marked.append(f"{_OPEN}{kind}{len(tags)}{_CLOSE}")
        tags[len(tags)] = _TRIM_RIGHT.sub(r"\1", _TRIM_LEFT.sub(r"\1", source))
    return "".join(marked), tags


def _same_order(marked: str, text: str) -> bool:
    """Blocks are in the order of the html, and each value stands between the same blocks."""
    kept = set(re.findall(_BLOCK, text))
    return _places(marked, kept) >= _places(text, kept) and re.findall(_BLOCK, text) == [
        block for block in re.findall(_BLOCK, marked) if block in kept
    ]


def _places(text: str, kept: set[str]) -> set[tuple[str, str]]:
    """(value, the last kept block before it) of every value."""
    places, before = set(), ""
    for mark in _MARK.finditer(text):
        if mark[0] in kept:
            before = mark[0]
        elif mark[0][1] == "v":
            places.add((mark[0], before))
    return places
