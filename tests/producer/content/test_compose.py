"""Composed mails against the standard library's parser, which knows nothing of how we make them."""

from __future__ import annotations

import hashlib
from email.message import EmailMessage, MIMEPart
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailspool.content import headers
from mailspool.content.mime import RenderError, message_id
from mailspool.contract.records import Kind, Row
from mailspool.errors import InputError
from tests.producer.content.mails import BATCH, CHARS, DATE_MS, ROW, VALUE, blobs, compiled, mail, parsed, ref


def wanted_text(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    raw = part.get_payload(decode=True)
    assert isinstance(raw, bytes)
    return raw.decode().replace("\r\n", "\n")


# ---------------------------------------------------------------- what a mail says


@settings(deadline=None, max_examples=150)
@given(VALUE, VALUE, st.text(CHARS, max_size=60))
@example("x\n" * 3, "", "")
@example("--=_", "--=_", "")
def test_a_personal_mail_says_what_was_written(name: str, code: str, to_name: str) -> None:
    values: dict[str, object] = {"name": name, "code": code}
    message = mail(
        Row("ali@x.org", values, to_name),
        subject="News: {{ name }}",
        text="Dear {{ name }},\n.\n{{ code }}",
        html="<p>{{ name }}</p>{{ code }}\n",
        headers=(("X-Code", "code {{ code }}"),),
    )
    assert message["subject"] == headers.one_line(f"News: {name}")
    assert message["x-code"] == headers.one_line(f"code {code}")
    assert body(message, "plain") == wanted_text(f"Dear {name},\n.\n{code}")
    escape = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;"}
    html = ["".join(escape.get(char, char) for char in value) for value in (name, code)]
    assert body(message, "html") == wanted_text(f"<p>{html[0]}</p>{html[1]}\n")
    assert [address.addr_spec for address in message["to"].addresses] == ["ali@x.org"]
    assert set(map(str.lower, message.keys())) == {
        "from", "to", "subject", "date", "message-id", "mime-version", "x-code", "content-type",
    }  # fmt: skip


@settings(deadline=None)
@given(st.text(CHARS, max_size=300), st.text(CHARS, max_size=300))
@example("{{ 7 * 7 }}{% if %}{#", "{{ x }}")
def test_a_literal_mail_is_never_code(subject: str, text: str) -> None:
    message = mail(kind="literal", subject=subject, text=text)
    assert (message["subject"] or "") == headers.one_line(subject)
    whole = wanted_text(text)
    assert body(message, "plain") == (whole if whole.endswith("\n") else whole + "\n")


DOTTED = st.text(st.sampled_from(".\n\r a"), max_size=6)


@settings(deadline=None, max_examples=300)
@given(DOTTED, DOTTED, DOTTED, st.sampled_from(["template", "literal"]))
@example("", "", ".", "template")
@example("\n", "", ".\n", "template")
@example("", ".", "", "literal")
def test_no_line_begins_with_a_dot_where_none_is_announced(before: str, after: str, value: str, kind: Kind) -> None:
    """The session does not look for dots then, and a lone one would end the mail."""
    text = f"{before}{{{{ name }}}}{after}" if kind == "template" else before + after
    html = f"{after}{{{{ name }}}}" if kind == "template" else after
    content = compiled(kind=kind, subject="Hello", text=text, html=html)
    rendered = content.render(Row("ali@x.org", {"name": value}), 1)
    data = b"".join(rendered.pieces)
    assert rendered.dots or (b"\n." not in data and not data.startswith(b"."))


def test_a_mail_without_dots_announces_none() -> None:
    """Or everything would be looked through for nothing."""
    plain = compiled(subject="Hello {{ name }}", text="Dear {{ name }}, 3.50 is due.\n").render(ROW, 1)
    assert not plain.dots
    assert compiled(subject="Hello", text="one\n.two\n").render(ROW, 1).dots


def test_the_fields_of_a_header() -> None:
    message = mail(
        Row("ali@x.org", {}, "Ali Reza"),
        n=17,
        subject="Hello",
        sender="office@acme.example",
        reply_to="Help <help@acme.example>, two@acme.example",
        headers=(("X-Empty", ""), ("List-Id", "news")),
    )
    assert message.items() == [
        ("From", "Acme <billing@acme.example>"),
        ("Sender", "office@acme.example"),
        ("Reply-To", "Help <help@acme.example>, two@acme.example"),
        ("To", "Ali Reza <ali@x.org>"),
        ("Subject", "Hello"),
        ("Date", "Wed, 18 Nov 2026 11:06:40 +0000"),
        ("Message-ID", message_id(BATCH, 17, "acme.example")),
        ("List-Id", "news"),
        ("MIME-Version", "1.0"),
        ("Content-Type", 'text/plain; charset="utf-8"'),
        ("Content-Transfer-Encoding", "7bit"),
    ]
    assert parsedate_to_datetime(message["date"]).timestamp() == DATE_MS / 1000


def test_the_same_row_gives_the_same_bytes_in_every_process_and_release() -> None:
    fields: dict[str, Any] = {"subject": "{{ name }}", "html": "{{ name }}", "attachments": (ref("a.pdf", b"pdf"),)}
    first = compiled(blobs=blobs(b"pdf"), **fields).render(ROW, 5)
    assert compiled(blobs=blobs(b"pdf"), **fields).render(ROW, 5) == first
    other = compiled(blobs=blobs(b"pdf"), **fields).render(ROW, 6)
    assert other.pieces != first.pieces
    digest = hashlib.sha256(b"".join(first.pieces)).hexdigest()
    assert digest == "bd1214a64d9d281c2b124cd612cb402a8cea5aa8eb8ccc2520f643ab575a83b6", (
        "the bytes of a mail may only change together with RECORD_VERSION"
    )


# ---------------------------------------------------------------- who


def test_to_may_add_a_name_that_can_hold_anything() -> None:
    for name in ("Ali", "Smith, John", "<evil@x.org>, x", "evil@x.org", 'a" <b@x.org>', "سلام\r\nBcc: b@x.org"):
        message = mail(Row("ali@x.org", {"name": name}), to="{{ name }} <{{ email }}>")
        assert [a.addr_spec for a in message["to"].addresses] == ["ali@x.org"], name
        assert message["to"].addresses[0].display_name == headers.one_line(name)
        assert "bcc" not in message


@pytest.mark.parametrize(
    "to",
    ["other@x.org", "{{ name }} <other@x.org>", "{{ other }}", "{{ name }} <{{ other }}>", "{{ other }}, {{ email }}"],
)
def test_to_must_become_the_rows_own_address(to: str) -> None:
    row = Row("ali@x.org", {"name": "Ali", "other": "other@x.org"})
    with pytest.raises(RenderError, match=r"^to does not become"):
        compiled(to=to).render(row, 1)


@pytest.mark.parametrize("to", ["{{ email }}", "ALI@X.org", "{{ x }}", "Ali <ali@x.org>", "'{{ name }}' <{{ email }}>"])
def test_to_is_compared_as_an_address(to: str) -> None:
    message = mail(Row("ali@x.org", {"name": "Ali", "x": " Ali Reza <Ali@x.ORG>\n"}), to=to)
    assert message["to"].addresses[0].addr_spec.lower() == "ali@x.org"


def test_a_constant_to_and_cc_name_all_receivers_of_a_mail() -> None:
    fields: dict[str, Any] = {"to": "Ali <ali@x.org>, reza@x.org", "cc": "boss@x.org"}
    for receiver in ("ali@x.org", "Reza@x.org", "boss@x.org"):
        message = mail(Row(receiver, {}), **fields)
        assert message["to"] == "Ali <ali@x.org>, reza@x.org"
        assert message["cc"] == "boss@x.org"
    with pytest.raises(RenderError):
        mail(Row("stranger@x.org", {}), **fields)
    assert mail(Row("blind@x.org", {}), kind="literal", **fields)["to"] == "Ali <ali@x.org>, reza@x.org"


def test_the_envelope_sender() -> None:
    assert compiled().render(ROW, 1).mail_from == "billing@acme.example"
    assert compiled(return_path="bounces@acme.example").render(ROW, 1).mail_from == "bounces@acme.example"
    assert compiled(return_path="<>").render(ROW, 1).mail_from == ""
    assert compiled().render(Row("a@x.org", {}, mail_from="b+7@acme.example"), 1).mail_from == "b+7@acme.example"


def test_a_sender_from_the_row() -> None:
    batch = compiled(from_="{{ shop }} <shop@{{ domain }}>", reply_to="{{ agent|default('') }}")
    first = batch.render(Row("ali@x.org", {"shop": "Blumen, Käthe", "domain": "Bücher.example"}), 1)
    assert first.mail_from == "shop@xn--bcher-kva.example"
    message = parsed(first)
    assert message["from"].addresses[0].display_name == "Blumen, Käthe"
    assert message["message-id"] == message_id(BATCH, 1, "xn--bcher-kva.example")
    assert "reply-to" not in message
    second = parsed(
        batch.render(Row("ali@x.org", {"shop": "S", "domain": "x.org", "agent": "A <a@x.org>, b@x.org"}), 1)
    )
    assert second["reply-to"] == "A <a@x.org>, b@x.org"
    for values in ({"shop": "S", "domain": "x"}, {"shop": "S", "domain": "x.org", "agent": "no address"}):
        with pytest.raises(RenderError, match="does not become a mailbox"):
            batch.render(Row("ali@x.org", dict(values)), 1)


def test_another_script_before_the_at_asks_for_smtputf8() -> None:
    assert not compiled().render(ROW, 1).smtputf8
    rendered = compiled(subject="سلام", text="سلام\n").render(Row("علی@x.org", {}), 1)
    assert rendered.smtputf8
    assert rendered.eight_bit
    assert "To: علی@x.org\r\n".encode() in rendered.pieces[0]
    assert compiled().render(Row("a@x.org", {}, mail_from="علی@x.org"), 1).smtputf8
    assert compiled(reply_to="علی@x.org").render(ROW, 1).smtputf8
    assert compiled(reply_to="{{ name }} <علی@x.org>").render(ROW, 1).smtputf8


def test_the_message_id_is_known_without_a_mail() -> None:
    row = Row("ali@x.org", {"domain": "shop.example"})
    for batch in (compiled(), compiled(from_="{{ domain }} <a@{{ domain }}>", return_path="b@acme.example")):
        assert parsed(batch.render(row, 7))["message-id"] == batch.message_id(row, 7)
    assert compiled(from_="a@{{ domain }}").message_id(Row("ali@x.org", {}), 7) == "", "values are erased in time"


# ---------------------------------------------------------------- bodies and files


def shape(part: MIMEPart) -> object:
    if part.is_multipart():
        return [part.get_content_subtype(), *(shape(child) for child in part.iter_parts())]
    return part.get_content_type()


def test_the_shape_of_a_mail() -> None:
    html, pdf, png = "<p>", b"%PDF", b"\x89PNG"
    both = blobs(pdf, png)
    picture = ref("logo.png", png, "image/png", inline=True, cid="logo")
    file = ref("a.pdf", pdf)
    assert shape(mail()) == "text/plain"
    assert shape(mail(text=None, html=html)) == "text/html"
    assert shape(mail(html=html)) == ["alternative", "text/plain", "text/html"]
    assert shape(mail(attachments=(file,), blobs=both)) == ["mixed", "text/plain", "application/pdf"]
    assert shape(mail(attachments=(picture,), blobs=both)) == ["mixed", "text/plain", "image/png"]
    message = mail(html=html, attachments=(file, picture), blobs=both)
    assert shape(message) == [
        "mixed", ["alternative", "text/plain", ["related", "text/html", "image/png"]], "application/pdf",
    ]  # fmt: skip
    attached = list(message.iter_attachments())
    assert [part.get_filename() for part in attached] == ["a.pdf"]
    inline = next(part for part in message.walk() if part.get_content_type() == "image/png")
    assert inline["content-id"] == "<logo>"
    assert inline.get_content_disposition() == "inline"
    assert inline.get_content() == png


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300), st.text(CHARS, max_size=80))
@example(b"", "فاکتور.pdf")
@example(b"x" * 57, "שלום 😀.pdf")
def test_files_come_back(data: bytes, name: str) -> None:
    batch = compiled(attachments=(ref("{{ name }}", data),), blobs=blobs(data))
    (part,) = parsed(batch.render(Row("ali@x.org", {"name": name}), 1)).iter_attachments()
    assert part.get_content() == data
    shown = headers.one_line(name).replace("/", "_").replace("\\", "_") or "attachment"
    assert part["content-disposition"].params["filename"] == shown


def test_an_attachment_is_encoded_once_and_shared() -> None:
    data = bytes(range(256)) * 400
    batch = compiled(subject="{{ name }}", attachments=(ref("a.pdf", data), ref("b.pdf", data)), blobs=blobs(data))
    first, second = batch.render(ROW, 1), batch.render(Row("b@x.org", {"name": "B"}), 2)
    shared = [a for a, b in zip(first.pieces, second.pieces, strict=True) if a is b]
    assert [len(piece) > len(data) for piece in shared] == [True, True]
    assert sum(map(len, first.pieces)) - sum(map(len, shared)) < 2_000


def test_a_long_constant_text_is_shared_too() -> None:
    batch = compiled(subject="{{ name }}", text="long\n" * 10_000, html="<p>{{ name }}</p>")
    first, second = batch.render(ROW, 1), batch.render(Row("b@x.org", {"name": "B"}), 2)
    assert [a is b for a, b in zip(first.pieces, second.pieces, strict=True)] == [False, True, False]
    assert body(parsed(second), "plain") == "long\n" * 10_000


def test_an_attached_mail_is_a_file() -> None:
    data = b"From: a@x.org\r\n\r\nhello\r\n"
    message = mail(attachments=(ref("a.eml", data, "message/rfc822"),), blobs=blobs(data))
    (part,) = message.iter_attachments()
    assert part.get_content_type() == "application/octet-stream"
    assert part.get_content() == data


def test_a_missing_blob_is_told_by_its_key() -> None:
    batch = compiled(attachments=(ref("a.pdf", b"x"),))
    with pytest.raises(KeyError, match=hashlib.sha256(b"x").hexdigest()):
        batch.render(ROW, 1)
    assert batch.message_id(ROW, 1) == message_id(BATCH, 1, "acme.example")


@pytest.mark.parametrize(
    "text", ["x" * 998, "x" * 999, ".\n..\n.x", "\n", "", "x\r\ny\rz", "سلام " * 400, "From here\n", "y" * 30_000]
)
def test_bodies_at_their_limits(text: str) -> None:
    assert body(mail(text=text, html="<p>"), "plain") == wanted_text(text)
    assert body(mail(Row("a@x.org", {"t": text}), text="{{ t }}", html="<p>"), "plain") == wanted_text(text)


def test_a_text_that_holds_the_boundary_gets_another_one() -> None:
    batch = compiled(text="{{ t }}", html="<p>{{ t }}</p>")
    row = Row("ali@x.org", {"t": "x"})
    boundary = parsed(batch.render(row, 1)).get_boundary()
    assert boundary is not None
    for text in (f"--{boundary}", f"--{boundary}--\n--{boundary}", boundary):
        message = parsed(batch.render(Row("ali@x.org", {"t": text}), 1))
        assert body(message, "plain") == text
        assert shape(message) == ["alternative", "text/plain", "text/html"]
        constant = parsed(compiled(text=text, html="<p>").render(row, 1))
        assert body(constant, "plain") == text
    assert message.get_boundary() == boundary, "a mention without the dashes at a line's start is harmless"


# ---------------------------------------------------------------- bad rows


def test_nul_and_half_characters_refuse_the_row() -> None:
    for value in ("a\0b", "\0"):
        with pytest.raises(RenderError, match="NUL"):
            compiled(text="{{ v }}").render(Row("a@x.org", {"v": value}), 1)
        with pytest.raises(RenderError, match="NUL"):
            compiled().render(Row("a@x.org", {}, value), 1)
    for fields in ({"text": "{{ v }}"}, {"subject": "{{ v }}"}, {"headers": (("X-A", "{{ v }}"),)}):
        with pytest.raises(RenderError, match="surrogate"):
            compiled(**fields).render(Row("a@x.org", {"v": "\ud800"}), 1)


def test_what_comes_out_of_redis_adds_no_header() -> None:
    for recipient in ("ali@x.org>\r\nBcc: b@x.org", "ali@x.org\n", "a\0@x.org"):
        with pytest.raises(RenderError, match="control character"):
            compiled().render(Row(recipient, {}), 1)
    odd = (
        {"headers": (("X\r\nBcc", "b@x.org"),)},
        {"headers": (("X: y", "b"),)},
        {"attachments": (ref("a", b"", "a/b\r\nBcc: b@x.org"),)},
        {"attachments": (ref("a", b"", cid="a>\r\nBcc: b@x.org"),)},
    )
    for fields in odd:
        with pytest.raises(InputError):
            compiled(blobs=blobs(b""), **fields)


def test_bad_specs_are_told_at_once() -> None:
    for fields, sentence in (
        ({"from_": "Acme"}, 'from "Acme": no @ sign.'),
        ({"to": "a@x.org, b"}, 'to "a@x.org, b": '),
        ({"return_path": "x"}, 'return_path "x": no @ sign.'),
        ({"text": "{{"}, "text: "),
        (
            {"kind": "mime", "mime": b"no header\r\n\r\n"},
            "The finished mail cannot be sent: line 1 is no header field.",
        ),
    ):
        with pytest.raises(InputError) as caught:
            compiled(**fields)
        assert str(caught.value).startswith(sentence)
