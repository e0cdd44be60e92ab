"""Message and Attachment: what they take, what they refuse and in which words, and the spec they become."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from mailspool.errors import InputError
from mailspool.message import Attachment, Message, to_spec

SENDER = "Acme Billing <billing@acme.example>"
NAME_ASKED = 'Attachment of bytes needs a name: Attachment(data, name="invoice.pdf").'
FOLLOWS = "follows from the content: use text=, html= and attachments=."


def message(**fields: Any) -> Message:
    return Message(**{"from_": SENDER, "text": "Hello\n", **fields})


def problems(**fields: Any) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        message(**fields)
    assert str(caught.value) == " ".join(caught.value.problems)
    return caught.value.problems


# ---------------------------------------------------------------- Message


def test_all_fields_as_they_are_given() -> None:
    made = message(
        to=["Ali <ali@x.org>", "b@x.org"], cc="c@x.org", bcc=("d@x.org",), reply_to="help@acme.example", subject="Hi",
        html="<p>", headers={"List-Id": "news"}, return_path="<>", sender="office@acme.example",
    )  # fmt: skip
    assert made.from_ == SENDER
    assert (made.to, made.cc, made.bcc) == (("Ali <ali@x.org>", "b@x.org"), ("c@x.org",), ("d@x.org",))
    assert (made.reply_to, made.subject, made.return_path) == ("help@acme.example", "Hi", "<>")
    assert (made.text, made.html, dict(made.headers)) == ("Hello\n", "<p>", {"List-Id": "news"})


def test_json_and_toml_say_from() -> None:
    given = {"from": SENDER, "text": "x", "to": "a@x.org"}
    assert Message.model_validate(given) == message(text="x", to="a@x.org")
    with pytest.raises(InputError, match="from is given twice"):
        Message.model_validate({**given, "from_": SENDER})
    with pytest.raises(InputError, match="not of str"):
        Message.model_validate("text")


def test_it_is_frozen_and_can_be_replaced_and_pickled() -> None:
    made = message(attachments=[Attachment(b"x", name="a.txt")])
    with pytest.raises(ValidationError):
        made.subject = "other"
    other = made.replace(subject="other", from_="b@x.org")
    assert (other.subject, other.from_, other.attachments) == ("other", "b@x.org", made.attachments)
    assert made.replace(**{"from": "c@x.org"}).from_ == "c@x.org"
    assert made.subject == ""
    with pytest.raises(InputError, match="subject must be a text"):
        made.replace(subject=7)
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own bytes


def test_repr_shows_no_content_and_no_receiver() -> None:
    shown = repr(message(subject="secret", text="secret", html="secret", to="secret@x.org", headers={"X-A": "secret"}))
    assert "secret" not in shown


def test_inside_another_model_it_is_pydantics_error() -> None:
    class Request(BaseModel):
        mail: Message

    assert Request.model_validate({"mail": {"from": SENDER, "text": "x"}}).mail.from_ == SENDER
    with pytest.raises(ValidationError, match="Give text or html"):
        Request.model_validate({"mail": {"from": SENDER}})


def test_a_path_is_a_utf8_file_read_at_once(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes("\ufeffسلام\n".encode())
    made = message(text=file, html=file)
    file.unlink()
    assert (made.text, made.html) == ("سلام\n", "سلام\n")
    file.write_bytes(b"one\ntwo \xe9\n")
    assert problems(text=file) == (f"text: {file} is not UTF-8 (line 2). Save it as UTF-8.",)
    assert problems(text=tmp_path) == (f"{tmp_path} cannot be read: Is a directory.",)
    with pytest.raises(InputError) as caught:
        message(html=tmp_path / "no.html")
    assert (str(caught.value), caught.value.exit_code) == (f"no file {tmp_path / 'no.html'}.", 66)


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        Message.model_validate({"from_": "Acme", "subjet": "x", "to": "a@x.org, b", "reply_to": "x\ny"})
    assert caught.value.problems == (
        "Message has no field 'subjet'. Did you mean subject?",
        'from "Acme": no @ sign.',
        'to "a@x.org, b": no @ sign in "b" (a name with a comma needs quotes).',
        "reply_to holds a line break: a header field is one line.",
        "Give text or html (or both): a mail needs a content.",
    )
    assert (caught.value.exit_code, caught.value.code) == (65, "bad_message")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"subject": 7}, "subject must be a text (str), not int."),
        ({"subject": "a\r\nBcc: b@x.org"}, "subject holds a line break: a header field is one line."),
        ({"subject": "a\0"}, "subject holds a NUL character: no mail may."),
        ({"text": "a\0"}, "text holds a NUL character: no mail may."),
        ({"text": "\ud800"}, "text holds half a character (a lone surrogate): read its source as UTF-8."),
        ({"text": b"x"}, "text must be a text (str) or a file (Path), not bytes."),
        ({"from_": "a@x.org\nBcc: b@x.org"}, "from holds a line break: a header field is one line."),
        ({"from_": ""}, 'from "": no address.'),
        ({"to": 7}, "to must be an address or a list of addresses, not int."),
        ({"to": ["a@x.org", 7]}, "to must be a text (str), not int."),
        ({"cc": "{{ boss }}"}, 'cc "{{ boss }}": no @ sign in "{{ boss }}" (a name with a comma needs quotes).'),
        ({"return_path": "x"}, 'return_path "x": no @ sign.'),
        ({"sender": "{{ x }}"}, 'sender "{{ x }}": no @ sign.'),
        ({"attachments": "a.pdf"}, "attachments must be a list of Attachment, not str."),
        ({"attachments": ["a.pdf"]}, "attachments must hold Attachment(...), not str."),
        ({"attachments": [{"source": b"x"}]}, NAME_ASKED),
        ({"unsubscribe": "x"}, "Message has no field 'unsubscribe'."),
        ({"headers": ["X-A: 1"]}, "headers must be a dict of names and texts, not list."),
        ({"headers": {"X-A": 1}}, "header X-A must be a text (str), not int."),
        ({"headers": {"X-A": "1\nBcc: b@x.org"}}, "header X-A holds a line break: a header field is one line."),
        ({"headers": {"X-A": "\0"}}, "header X-A holds a NUL character: no mail may."),
        ({"headers": {"x-a": "1", "X-A": "2"}}, "headers: X-A is given twice."),
        ({"headers": {"From": "x"}}, "headers: use from_= for From."),
        ({"headers": {"TO": "x"}}, "headers: use to= for TO."),
        ({"headers": {"Subject": "x"}}, "headers: use subject= for Subject."),
        ({"headers": {"bcc": "x"}}, "headers: use bcc= for bcc."),
        ({"headers": {"Date": "x"}}, "headers: Mailspool writes Date itself, the same at every attempt."),
        ({"headers": {"Message-Id": "x"}}, "headers: Mailspool writes Message-Id itself, the same at every attempt."),
        ({"headers": {"MIME-Version": "x"}}, f"headers: MIME-Version {FOLLOWS}"),
        ({"headers": {"Content-Decomposition": "x"}}, f"headers: Content-Decomposition {FOLLOWS}"),
    ],
)  # fmt: skip
def test_what_is_refused(fields: dict[str, Any], sentence: str) -> None:
    assert problems(**fields) == (sentence,)


@pytest.mark.parametrize("name", ["X A", "X:A", "X-A\r\nBcc", "X-A\n", "", "Schlüssel", "X-\x7f", "{{ x }}: y", 7])
def test_header_names_are_tokens(name: object) -> None:
    (sentence,) = problems(headers={name: "x"})
    assert "is no header name" in sentence
    assert "\r" not in sentence


def test_templates_are_not_judged_as_addresses_yet() -> None:
    made = message(from_="{{ shop }} <{{ a }}>", to="{{ email }}", reply_to="{{ b }}")
    with pytest.raises(InputError) as caught:
        to_spec(made, kind="literal")
    assert len(caught.value.problems) == 3
    with pytest.raises(InputError, match=r'^to "\{\{ email \}\}": no @ sign'):
        made.receivers()


def test_the_receivers_of_a_message() -> None:
    made = message(to="Ali <ali@x.org>, b@x.org", cc=["ALI@X.ORG"], bcc="Blind <c@bücher.example>")
    assert [tuple(box) for box in made.receivers()] == [
        ("Ali", "ali@x.org"), ("", "b@x.org"), ("Blind", "c@xn--bcher-kva.example"),
    ]  # fmt: skip


def test_the_client_may_fill_in_a_sender() -> None:
    made = Message(text="x")
    assert made.with_default_from(None) is made
    assert made.with_default_from("a@x.org").from_ == "a@x.org"
    assert message().with_default_from("a@x.org").from_ == SENDER
    with pytest.raises(InputError, match="No sender: give from_="):
        to_spec(made, kind="literal")
    with pytest.raises(InputError, match=r'^from "x"'):
        made.with_default_from("x")


# ---------------------------------------------------------------- Attachment


def test_an_attachment_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "فاکتور.pdf"
    file.write_bytes(b"%PDF")
    for made in (Attachment(file), Attachment(str(file)), Attachment.model_validate({"source": str(file)})):
        assert (made.name, made.type, made.content()) == ("فاکتور.pdf", "application/pdf", b"%PDF")
    spec, blobs = to_spec(message(attachments=[Attachment(file), Attachment(b"%PDF", name="copy.pdf")]), kind="literal")
    sha = hashlib.sha256(b"%PDF").hexdigest()
    assert blobs == {sha: b"%PDF"}
    assert [(ref.sha, ref.name, ref.size) for ref in spec.attachments] == [(sha, "فاکتور.pdf", 4), (sha, "copy.pdf", 4)]
    made = Attachment(file)
    file.unlink()
    with pytest.raises(InputError) as caught:
        to_spec(message(attachments=[made]), kind="literal")
    assert (str(caught.value), caught.value.exit_code) == (f"no file {file}.", 66)


def refused(*source: Any, **fields: Any) -> str:
    with pytest.raises(InputError) as caught:
        Attachment(*source, **fields)
    return str(caught.value)


def test_what_an_attachment_refuses(tmp_path: Path) -> None:
    assert refused(tmp_path / "no.pdf") == f"no file {tmp_path / 'no.pdf'}."
    assert refused(tmp_path) == f"{tmp_path} is a folder."
    assert "is not offered yet" in refused("invoices/{{ number }}.pdf")
    assert refused("a\0.pdf") == "The path of an attachment holds a NUL character."
    assert refused(7) == "Attachment takes a path or bytes, not int."
    assert "needs a name" in refused(b"x")
    assert refused(b"x", name="  ") == "The name of an attachment is empty."
    assert refused(b"x", name="a\r\nX: y") == "name holds a line break: a header field is one line."
    assert refused(b"x", name="a", type="pdf") == 'type "pdf" is no media type like application/pdf.'
    assert refused(b"x", name="a", type="a/b\r\nX: y") == "type holds a line break: a header field is one line."
    assert refused(b"x", name="a", type="multipart/mixed") == 'type "multipart/mixed": a file is never multipart.'
    assert refused(b"x", name="a", inline="yes") == "inline must be True or False, not str."
    assert "needs cid=" in refused(b"x", name="my logo.png", inline=True)
    assert "needs cid=" in refused(b"x", name="{{logo}}.png", inline=True)
    assert "needs cid=" in refused(b"x", name="a", cid="a> <b")
    assert refused(b"x", nam="a").startswith("Attachment has no field 'nam'. Did you mean name?")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.pdf", "application/pdf"),
        ("a.b.PNG", "image/png"),
        ("Invoice {{ number }}.pdf", "application/pdf"),
        ("list.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("logs.tar.gz", "application/gzip"),
        ("README", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
    ],
)
def test_the_type_follows_from_the_name(name: str, kind: str) -> None:
    assert Attachment(b"x", name=name).type == kind
    assert Attachment(b"x", name=name, type="text/csv; charset=utf-8").type == "text/csv; charset=utf-8"


def test_an_inline_picture_is_known_by_its_name() -> None:
    assert Attachment(b"x", name="logo.png", inline=True).cid == "logo.png"
    assert Attachment(b"x", name="logo.png", inline=True, cid="<l@x>").cid == "l@x"
    assert Attachment(b"x", name="logo.png").cid is None


# ---------------------------------------------------------------- the spec


def test_a_spec_holds_what_the_message_says() -> None:
    made = message(
        to=["a@x.org", "b@x.org"], cc="c@x.org", bcc="d@x.org", reply_to=["r@x.org", "s@x.org"], subject="Hi",
        html="<p>", headers={"X-A": "1"}, return_path="e@x.org", sender="f@x.org",
    )  # fmt: skip
    spec, blobs = to_spec(made, kind="literal")
    assert (spec.v, spec.kind, spec.from_, blobs) == (1, "literal", SENDER, {})
    assert (spec.to, spec.cc, spec.reply_to) == ("a@x.org, b@x.org", "c@x.org", "r@x.org, s@x.org")
    assert (spec.subject, spec.text, spec.html, spec.headers) == ("Hi", "Hello\n", "<p>", (("X-A", "1"),))
    assert (spec.return_path, spec.sender) == ("e@x.org", "f@x.org")
    assert "d@x.org" not in repr(spec)


def test_html_alone_gets_a_text_part() -> None:
    html = '<p>Dear {{ name }}, <a href="{{ url }}">look</a></p>'
    made = Message(from_=SENDER, html=html)
    assert to_spec(made, kind="template")[0].text == "Dear {{ name }}, [look]({{ url }})\n"
    assert to_spec(made, kind="literal")[0].text == "Dear {{ name }}, [look]({{ url }})\n"
    assert to_spec(made.replace(text=""), kind="template")[0].text is None
    assert to_spec(message(text=""), kind="template")[0].text == ""


def test_a_bad_template_is_told_only_where_it_is_one() -> None:
    made = message(text="one\n{{ two }", subject="{% if %}")
    assert to_spec(made, kind="literal")[0].text == "one\n{{ two }"
    with pytest.raises(InputError, match=r"^subject: ") as caught:
        to_spec(made, kind="template")
    assert caught.value.code == "bad_template"


def test_headers_that_changed_behind_our_back_are_looked_at_again() -> None:
    made = message(headers={"X-A": "1"})
    made.headers["Bcc\r\nX"] = "x"  # type: ignore[index]  # that is the point
    with pytest.raises(InputError, match="is no header name"):
        to_spec(made, kind="literal")
