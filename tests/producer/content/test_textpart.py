"""The text made from html: right, or not at all."""

from __future__ import annotations

import pytest

from mailspool.content.render import Field, Templates
from mailspool.content.textpart import text_of
from mailspool.errors import InputError

ROWS = (
    "<table><tbody>{% for i in items %}<tr><td>{{ i.name }}</td><td>{{ i.price }}</td></tr>{% endfor %}</tbody></table>"
)


def rendered(html: str, **values: object) -> str:
    templates = Templates([Field("text", "text", text_of(html, template=True) + "{{ '' }}")])
    return templates.fill(values, "ali@x.org")[0]


def test_plain_html() -> None:
    html = '<html><head><title>no</title><style>no</style></head><body><h1>Hello &amp; {{ x }}</h1><a href="https://x.org/?a=1">here</a>'
    assert text_of(html, template=False) == "Hello & {{ x }}\n\n[here](https://x.org/?a=1)\n"
    assert text_of("", template=False) == "\n"


def test_tags_stay_where_they_stood() -> None:
    link = '<a href="https://x.org/{{ id }}">open</a>'
    html = "<p>Dear {{ name }},</p><p>{% if a < 3 %}few{% else %}many{% endif %}: " + link
    assert rendered(html, name="A <b> & C", a=1, id=7) == "Dear A <b> & C,\n\nfew: [open](https://x.org/7)\n"
    assert rendered('{{ "}}" }}{# gone #}{% raw %}{{ x }}{% endraw %}') == "}}{{ x }}\n"


def test_a_loop_over_rows_gives_lines() -> None:
    items = [{"name": "Tea", "price": 3}, {"name": "Milk", "price": 2}]
    assert rendered(ROWS, items=items).split() == ["Tea", "3", "Milk", "2"]
    assert len(rendered(ROWS, items=items).strip().splitlines()) == 2
    bullets = "<ul>\n{%- for x in xs -%}\n<li>{{ x }}</li>\n{%- endfor -%}\n</ul>"
    assert rendered(bullets, xs=["a", "b"]).split() == ["*", "a", "*", "b"]


def test_a_paragraph_that_may_be_left_out_leaves_no_gap() -> None:
    html = "<p>one</p>{% if two %}<p>two</p>{% endif %}<p>three</p>"
    assert rendered(html, two=True) == "one\n\ntwo\n\nthree\n"
    assert rendered(html, two=False) == "one\n\nthree\n"


@pytest.mark.parametrize(
    "html",
    [
        "<table><tr>{% for i in x %}<td>{{ i }}</td>{% endfor %}</tr></table>",
        "<table><tr><td>a{% if x %}<br>{{ b }}</td><td>{{ c }}{% endif %}</td></tr></table>",
        "<p>\ue000 {{ x }}</p>",
    ],
)
def test_where_it_would_be_wrong_a_text_is_asked_for(html: str) -> None:
    with pytest.raises(InputError, match="give text="):
        text_of(html, template=True)


def test_bad_html_templates_are_told_of_the_html() -> None:
    with pytest.raises(InputError, match=r"^html line 2: "):
        text_of("<p>\n{% if %}", template=True)
