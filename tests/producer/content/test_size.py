"""The cheap upper bound of a row's mail: never too small, and close enough to spare the rendering."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailspool.content.mime import UNKNOWN_SIZE
from mailspool.contract.records import Row
from tests.producer.content.mails import CHARS, ROW, VALUE, blobs, compiled, ref


@settings(deadline=None, max_examples=150)
@given(VALUE, VALUE, st.text(CHARS, max_size=100))
@example("ΐ" * 500, "'" * 500, "ﬃ" * 60)
@example("\n" * 500, "<" * 500, "")
def test_no_mail_is_larger_than_its_bound(name: str, code: str, to_name: str) -> None:
    png = b"\x89PNG" * 100
    batch = compiled(
        subject="{{ name|upper }} {{ name }}",
        text="{{ code }}{% if name %}{{ row.code|title }}{% else %}{{ email }}{% endif %}",
        html="{{ name|e|title }}{{ code }}",
        headers=(("X-A", "{{ name|upper }}{{ code }}"),),
        attachments=(ref("{{ name|upper }}", png),),
        blobs=blobs(png),
    )
    row = Row("ali@x.org", {"name": name, "code": code}, to_name)
    assert batch.render(row, 1).size <= batch.upper_bound(row) < UNKNOWN_SIZE


@pytest.mark.parametrize("char", ["x", "'", "\n", "ΐ", "ﬃ", "😀", "&", "\x01", "="])
@pytest.mark.parametrize("printed", ["{{ v }}", "{{ v|upper }}", "{{ v|title }}"])
def test_no_character_grows_more_than_the_bound_says(printed: str, char: str) -> None:
    row = Row("ali@x.org", {"v": char * 3000})
    batches = [
        compiled(subject=printed),
        compiled(headers=(("X-A", printed),)),
        compiled(to=printed + " <{{ email }}>"),
        compiled(text=printed),
        compiled(text=None, html=printed),
        compiled(attachments=(ref(printed, b"x"),), blobs=blobs(b"x")),
    ]
    for batch in batches:
        assert batch.render(row, 1).size <= batch.upper_bound(row)


def test_constant_texts_and_files_are_counted() -> None:
    data = b"x" * 300_000
    batch = compiled(
        subject="{{ name }}", text="y\n" * 50_000, html="ü" * 90_000, attachments=(ref("a", data),), blobs=blobs(data)
    )
    size = batch.render(ROW, 1).size
    assert size <= batch.upper_bound(ROW) < size + 5_000


def test_a_bound_is_close_enough_to_be_useful() -> None:
    text = "It was a bright cold day in April.\n" * 100
    batch = compiled(subject="{{ name }}", text=text, html="<p>{{ name }}</p>")
    assert batch.upper_bound(ROW) < 3 * batch.render(ROW, 1).size


@pytest.mark.parametrize(
    "text", ["{% for i in range(9) %}{{ name }}{% endfor %}", "{{ name * 9 }}", "{{ name|center(99) }}", "{{ f() }}"]
)
def test_where_no_bound_is_known_it_says_so(text: str) -> None:
    assert compiled(text=text).upper_bound(ROW) == UNKNOWN_SIZE
