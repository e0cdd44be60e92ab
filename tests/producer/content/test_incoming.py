"""Finished mails come in: whose they are, and that their bytes are left alone."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.parser import BytesParser

import pytest

from mailspool.content.incoming import mime_to_spec
from mailspool.errors import InputError


def mail() -> EmailMessage:
    message = EmailMessage()
    message["From"] = '"Acme, Inc" <billing@acme.example>'
    message["To"] = "Ali <ali@x.org>, Team: reza@x.org, ALI@X.org;"
    message["Cc"] = "boss@x.org"
    message["Bcc"] = "Blind <blind@x.org>"
    message["Subject"] = "سلام " * 20
    message.set_content("Grüße {{ name }}\n.\n")
    message.add_attachment(b"\x00\xff" * 300, maintype="application", subtype="pdf", filename="فاکتور.pdf")
    return message


def test_an_email_message_is_written_once_and_keeps_its_content() -> None:
    spec, boxes = mime_to_spec(mail())
    assert spec.kind == "mime"
    assert spec.from_ == "billing@acme.example"
    assert [box.address for box in boxes] == ["ali@x.org", "reza@x.org", "boss@x.org", "blind@x.org"]
    assert boxes[0].name == "Ali"
    assert b"\n" not in spec.mime.replace(b"\r\n", b"")
    back = BytesParser(policy=policy.default).parsebytes(spec.mime)
    assert "bcc" not in back
    assert b"blind@x.org" not in spec.mime
    assert back["subject"] == "سلام " * 20
    text = back.get_body()
    assert text is not None
    assert text.get_content().replace("\r\n", "\n") == "Grüße {{ name }}\n.\n"
    (part,) = back.iter_attachments()
    assert part.get_filename() == "فاکتور.pdf"
    assert part.get_content() == b"\x00\xff" * 300


def test_bytes_are_kept_but_for_line_ends_and_bcc() -> None:
    raw = b"X-Odd:   spaces \nFrom: a@x.org\nBcc: b@x.org,\n\tc@x.org\nTo: t@x.org\n\n  body\r\n\xff\n"
    spec, boxes = mime_to_spec(raw)
    assert spec.mime == b"X-Odd:   spaces \r\nFrom: a@x.org\r\nTo: t@x.org\r\n\r\n  body\r\n\xff\r\n"
    assert [box.address for box in boxes] == ["t@x.org", "b@x.org", "c@x.org"]


def test_the_older_classes_are_taken_too() -> None:
    message = MIMEMultipart()
    message["From"], message["To"] = "a@x.org", "b@x.org"
    message.attach(MIMEText("hé"))
    spec, boxes = mime_to_spec(message)
    assert [box.address for box in boxes] == ["b@x.org"]
    assert b"Content-Type: multipart/mixed" in spec.mime


def test_nobody_is_named() -> None:
    assert mime_to_spec(b"From: a@x.org\r\nTo: undisclosed-recipients:;\r\nCc:\r\n\r\n")[1] == ()


def test_other_scripts_and_old_forms() -> None:
    _, boxes = mime_to_spec("From: a@x.org\r\nTo: John Q. Public <j@bücher.example>, علی@x.org\r\n\r\n".encode())
    assert [box.address for box in boxes] == ["j@xn--bcher-kva.example", "علی@x.org"]
    message = EmailMessage()
    message["From"], message["To"] = "a@x.org", "علی@x.org"
    message.set_content("x")
    spec, _ = mime_to_spec(message)
    assert "To: علی@x.org\r\n".encode() in spec.mime


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"To: a@x.org\r\n\r\n", "The finished mail has no From."),
        (b"", "The finished mail cannot be sent: it has no header."),
        (b"From: a@x.org\r\nx\r\n\r\n", "The finished mail cannot be sent: line 2 is no header field."),
        (
            b"From: a@x.org\r\nTo: alice@example.org)bob@evil.test\r\n\r\n",
            "To of the finished mail is no list of addresses.",
        ),
        (b"From: a@x.org\r\nTo: a@@x.org\r\n\r\n", "To of the finished mail is no list of addresses."),
        (b"From: a@x.org\r\nCc: a@x\r\n\r\n", 'Cc of the finished mail, "a@x": no dot after the @.'),
        (b"From: a@x.org\r\nTo: \xff@x.org\r\n\r\n", "To of the finished mail"),
        (b"From: =?utf-8?q?a=40evil.org?=\r\n\r\n", "From of the finished mail"),
    ],
)
def test_what_cannot_be_sent(raw: bytes, words: str) -> None:
    with pytest.raises(InputError) as caught:
        mime_to_spec(raw)
    assert str(caught.value).startswith(words)


def test_an_object_that_cannot_be_written() -> None:
    message = EmailMessage()
    message["From"] = "a@x.org"
    message.set_payload("\ud800")
    with pytest.raises(InputError, match="cannot be written as bytes"):
        mime_to_spec(message)
