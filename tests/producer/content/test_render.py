"""Rendering: one compiled template gives what many would; a row never gets in the way of another field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment, StrictUndefined

from mailspool.content.render import Field, RenderError, Templates, missing_sentence, needed_names, uses_row
from mailspool.contract.records import AttachmentRef, Spec
from mailspool.errors import InputError
from mailspool.message import Message, to_spec

FRAGMENTS = st.sampled_from(
    [
        "Dear {{ name }},\n",
        "{{ name|upper }}",
        "{{ '<i>' }}{{ tag }}",
        "{{ tag|safe }}",
        "{{ tag|e }}",
        "{{ [name, tag]|join('<br>') }}",
        "{{ tag|tojson }}",
        "{% set x = name %}{{ x }}",
        "{{ x|default('none') }}",
        "{% if flag %}\n yes {% else %} no {% endif %}\n",
        "{% for i in items %}{{ loop.index }}:{{ i }}\n{% endfor %}",
        "{%- for i in items -%} {{ i }} {%- endfor -%}",
        "{% macro m(a) %}<b>{{ a }}</b>{% endmacro %}{{ m(tag) }}",
        "{% filter upper %}{{ tag }}{% endfilter %}",
        "{% set block %}{{ tag }}{% endset %}{{ block }}",
        "{% autoescape true %}{{ tag }}{% endautoescape %}",
        "{% with y = tag %}{{ y }}{% endwith %}",
        "{% raw %}{{ no }}{% endraw %}",
        "{# a comment #}",
        "{{ row.name }}{{ email }}",
        "{{ amount }} {{ '%.2f'|format(amount) }}",
        "{% set ns = namespace(n=0) %}{% for i in items %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
        "plain <b>text</b> & more",
        "\n",
        "\n\n",
        " ",
        "\t{{ name }}  ",
        "سلام {{ name }}",
    ]
)
SOURCES = st.lists(FRAGMENTS, max_size=6).map("".join)
VALUES: dict[str, object] = {
    "name": "Ali & Söhne",
    "tag": "<a href='x'>\"&",
    "flag": True,
    "items": [1, "<2>", None],
    "amount": 9.5,
}


def alone(source: str, html: bool) -> str:
    env = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=html)  # noqa: S701
    return env.from_string(source).render({"row": VALUES, "email": "ali@x.org", **VALUES})


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(SOURCES, st.booleans()), min_size=1, max_size=5))
def test_one_template_gives_what_separate_ones_give(sources: list[tuple[str, bool]]) -> None:
    fields = [Field(str(i), str(i), source, html) for i, (source, html) in enumerate(sources)]
    templates = Templates(fields)
    texts = dict(zip(templates.keys, templates.fill(VALUES, "ali@x.org"), strict=True)) | templates.constant
    assert [texts[field.key] for field in fields] == [alone(field.source, field.html) for field in fields]


def fill_with(source: str, values: Mapping[str, object], *, html: bool = False) -> str:
    return Templates([Field("text", "text", "{{ '' }}" + source, html)]).fill(values, "ali@x.org")[0]


def fill(source: str, **values: object) -> str:
    return fill_with(source, values)


def reason(source: str, **values: object) -> str:
    with pytest.raises(RenderError) as caught:
        fill(source, **values)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


def test_a_set_in_one_field_is_unknown_in_the_next() -> None:
    templates = Templates([Field("a", "a", "{% set x = 1 %}{{ x }}"), Field("b", "b", "{{ x }}")])
    with pytest.raises(RenderError, match=r"^b: \{\{ x \}\} has no value$"):
        templates.fill({}, "ali@x.org")


def test_literal_fields_are_never_code() -> None:
    source = "{{ 7 * 7 }} {% bad %} {#"
    templates = Templates([Field("text", "text", source)], literal=True)
    assert templates.constant == {"text": source}
    assert templates.fill({}, "ali@x.org") == []


def test_texts_without_a_tag_are_constant() -> None:
    templates = Templates([Field("a", "a", "x\r\n"), Field("b", "b", "x{# c #}{% raw %}{{{% endraw %}\n")])
    assert templates.constant == {"a": "x\r\n", "b": "x{{\n"}
    assert not templates.dynamic


def test_values_keep_their_type() -> None:
    values = {
        "a": Decimal("1.10"),
        "b": date(2026, 11, 23),
        "c": datetime(2026, 11, 23, 8, tzinfo=UTC),
        "d": {"k": [1]},
    }
    assert (
        fill("{{ a * 2 }} {{ b.year }} {{ c.hour }} {{ d.k[0] + 1 }} {{ c - c }}", **values) == "2.20 2026 8 2 0:00:00"
    )


def test_row_is_the_exact_headers_or_else_the_values() -> None:
    assert fill('{{ row["First Name"] }}', **{"First Name": "Ali"}) == "Ali"
    assert fill('{{ row["First Name"] }}', first_name="x", row={"First Name": "Ali"}) == "Ali"
    assert fill("{{ email }}") == "ali@x.org"
    assert fill("{{ email }}", email="other") == "other"


@pytest.mark.parametrize(
    "source",
    [
        "{{ x|default('-') }}",
        "{{ x is defined }}",
        "{% if x is defined %}{{ x }}{% endif %}",
        "{{ 'a' if x is defined }}",
    ],
)
def test_what_may_be_missing(source: str) -> None:
    fill(source)


def test_reasons_are_sentences_without_values() -> None:
    secret = "hunter2"
    assert reason("{{ code }}") == "text: {{ code }} has no value"
    assert reason("{{ row[code] }}", code=secret) == "text: something that it asks for has no value"
    assert reason("{{ code.x }}", code=secret) == "text: something that it asks for has no value"
    assert reason("{{ code + 1 }}", code=secret) == "text: it cannot be filled (TypeError)"
    assert reason("{{ 1 / n }}", n=0) == "text: it cannot be filled (ZeroDivisionError)"
    assert reason("{{ code }}", code="a\0b") == "a value holds a NUL character"
    assert reason("{{ '\\0' }}") == "a value holds a NUL character"
    assert secret not in reason("{{ code|int(default=code.y) }}", code=secret)


def test_the_field_that_fails_is_named() -> None:
    templates = Templates(
        [Field("a", "subject", "{{ a }}"), Field("b", "text", "{{ 1 }}"), Field("c", "header X", "{{ c }}")]
    )
    with pytest.raises(RenderError, match=r"^header X: "):
        templates.fill({"a": 1}, "ali@x.org")
    with pytest.raises(RenderError, match=r"^subject: "):
        templates.fill({"c": 1}, "ali@x.org")


def test_what_prints_as_a_memory_address_is_refused() -> None:
    assert (
        reason("{{ name.upper }}", name="x")
        == "text: it prints a builtin_function_or_method, not a text: are the brackets () missing?"
    )
    assert (
        reason("{{ names|map('upper') }}", names=["x"]) == "text: it prints a generator, not a text: add |join or |list"
    )
    assert fill("{{ name.upper() }} {{ names|map('upper')|join }}", name="x", names=["y"]) == "X Y"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ x.append(1) }}",
        "{{ '{0.__class__}'.format('') }}",
        "{{ range(1000000) }}",
        "{% for i in range(999999999) %}{% endfor %}",
        "{{ fill.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__ }}",
    ],
)
def test_the_sandbox_holds(source: str) -> None:
    reason(source, x=[], fill=fill)


def test_values_are_never_code_and_escaped_in_html_only() -> None:
    assert fill("{{ name }}", name="{{ 7 * 7 }}") == "{{ 7 * 7 }}"
    assert fill_with("{{ name }}", {"name": "<script>"}, html=True) == "&lt;script&gt;"
    assert fill("{{ name }}", name="<script>") == "<script>"


@pytest.mark.parametrize("source", ["{{ x|random }}", "{{ lipsum() }}"])
def test_nothing_in_a_template_is_random(source: str) -> None:
    with pytest.raises((InputError, RenderError)):
        fill(source, x=[1, 2])


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("a\n\n{{ x", "text line 3: a {{ is not closed: }} is missing."),
        ("Dear {{ name,\n\nyour {{ thing }}", "text line 1: a {{ is not closed: }} is missing."),
        ("{# {{ #}{% raw %}{{{% endraw %}\n{{ first name }\nHello", "text line 2: a {{ is not closed: }} is missing."),
        ("{% if x\n{{ y }}{% endif %}", "text line 1: a {% is not closed: %} is missing."),
        ("{{ 'a' b }}\n{{ c", "text line 1: expected token 'end of print statement', got 'b'."),
        ("a\n{% if x %}", "text line 2: "),
        ("{% bad %}", "text: Encountered unknown tag 'bad'."),
        ("a\n{{ x|dfault }}", 'text line 2: there is no filter "dfault". Did you mean "default"?'),
        ("{% if x %}{{ y|money }}{% endif %}", 'text: there is no filter "money".'),
        ("{{ x is odds }}", 'text: there is no test "odds". Did you mean "odd"?'),
        ("a\n{{ First  Name|upper }}", 'text line 2: "First Name" is not one word, and a name in a template is. Did '),
        ("{{ a }} {{ address line 2 }}", 'text: "address line 2" is not one word, and a name in a template is.'),
        ("{% if first name %}{% endif %}", 'text: "first name" is not one word'),
        (
            "{{ نام کوچک }}",
            'text: "نام کوچک" is not one word, and a name in a template is. Did you mean {{ نام_کوچک }}?',
        ),
        ("{{ x is divisibleby 3 4 }}", "text: expected token 'end of print statement', got 'integer'."),
        ("{{ 'a' b }}", "text: expected token 'end of print statement', got 'b'."),
        ("{% include 'x' %}", "text: {% include %} is not offered in a mail: a template is one text."),
        ("{% extends 'x' %}", "text: {% extends %} is not offered"),
        ("{% from 'x' import y %}", "text: {% import %} is not offered"),
        ("{% block x %}{% endblock %}", "text: {% block %} is not offered"),
        ("{% for i in x %}" * 30 + "{% endfor %}" * 30, "text: it is nested too deeply."),
        ("{{ " + "9" * 5000 + " }}", "text: a number has too many digits."),
        ("{{ 0x" + "f" * 5000 + " }}", "text: a number has too many digits."),
        ("{{ a }}" * 5001, "text: it has 5,001 tags, and 5,000 are allowed: let a loop write them."),
        ("{#" * 100_000, "text: it has 100,000 tags, and 5,000 are allowed: let a loop write them."),
        ("{{ [" + "1," * 20_000 + "] }}", "text: its tags hold more than 30,000 names, numbers and signs."),
        ("a\0b", "text holds a NUL character: no mail may."),
    ],
)
def test_bad_templates_name_field_and_line(source: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        Templates([Field("subject", "subject", "{{ fine }}"), Field("text", "text", source)])
    assert str(caught.value).startswith(sentence)
    assert caught.value.code == "bad_template"


@pytest.mark.parametrize("place", ["from_", "to", "reply_to"])
def test_a_bad_template_in_a_mailbox_is_told(place: str) -> None:
    for tag in ("{{ " + "9" * 5000 + " }}", "{{ " + "(" * 500 + "1" + ")" * 500 + " }}"):
        given = {"from_": "a@sender.test", "text": "x", place: f"{tag} <{{{{ email }}}}>"}
        with pytest.raises(InputError):
            needed_names(to_spec(Message(**given), kind="template")[0])  # type: ignore[arg-type]  # a table's fields


# ---------------------------------------------------------------- names that a row must have

NEEDS = [
    ("{{ name }}", {"name"}),
    ("{{ a.b }} {{ c['d'] }} {{ e() }}", {"a", "c", "e"}),
    ("{{ a|upper }} {{ b|default('x') }} {{ c.d|default('x') }} {{ e|d }}", {"a", "c"}),
    ("{{ a is defined }} {{ b is none }} {{ c.d is defined }}", {"c"}),
    ("{% if a %}{{ b }}{% elif c %}{{ d }}{% else %}{{ e }}{% endif %}", {"a"}),
    ("{% if a is defined %}{{ a }}{% endif %}", set()),
    ("{% if a and b %}{% endif %}{{ c or d }}", {"a", "c"}),
    ("{% for i in items %}{{ i }} {{ other }}{{ loop.index }}{% endfor %}", {"items"}),
    ("{% for k, v in m|items %}{{ k }}{% endfor %}", set()),
    ("{% set x = a %}{{ x }}{% set y = b.c %}", {"b"}),
    ("{{ x }}{% set x = 1 %}", {"x"}),
    ("{% if flag %}{% set x = 1 %}{% endif %}{{ x }}", {"flag"}),
    ("{% if flag %}{% set x %}1{% endset %}{% macro m() %}{% endmacro %}{% endif %}{{ x }}{{ m() }}", {"flag"}),
    ("{% with x = a %}{{ x }}{{ b }}{% endwith %}{{ x }}", {"b", "x"}),
    ("{% macro m(a) %}{{ a }}{{ b }}{% endmacro %}{{ m(c) }}", set()),
    ("{% call m() %}{{ x }}{% endcall %}", {"m"}),
    ("{% filter upper %}{{ x }}{% endfilter %}", {"x"}),
    ("{% set t %}{{ x }}{% endset %}", {"x"}),
    ("{{ a if b else c }}", {"b"}),
    ("{{ a == b }}{{ c in d }}{{ not e }}{{ -f }}", {"a", "b", "d", "e", "f"}),
    ("{{ a ~ b }} {{ c + d }}", {"a", "b", "c", "d"}),
    ("{{ [a, b.c]|length }}", {"b"}),
    ("{{ names|map('upper')|join }} {{ m|map('upper')|default('')|list }}", {"names"}),
    ("{% set g = m|map('upper') %}", set()),
    ("{{ range(3)|list }} {{ dict(a=b) }} {{ row.x }} {{ email }}", set()),
    ("{{ a|replace(b, c) }}", {"a"}),
    ("{% autoescape true %}{{ a }}{% endautoescape %}", {"a"}),
]


@pytest.mark.parametrize(("source", "names"), NEEDS)
def test_needed_names(source: str, names: set[str]) -> None:
    spec = Spec(v=1, kind="template", from_="a@x.org", text=source)
    assert needed_names(spec) == names


class _Anything(str):
    """A text that answers to everything that the sources above do with a name."""

    __slots__ = ()
    b = c = d = x = "attribute"

    def __getitem__(self, key: object) -> str:
        return "item"

    def __iter__(self) -> Iterator[str]:
        return iter(["one"])

    def __call__(self, *args: object, **kwargs: object) -> str:
        return "called"

    def __neg__(self) -> str:
        return "-"


@pytest.mark.parametrize(("source", "names"), NEEDS)
def test_a_needed_name_that_is_missing_always_raises(source: str, names: set[str]) -> None:
    """The promise behind refusing a batch early: without the name no rendering succeeds."""
    known: dict[str, object] = dict.fromkeys(
        ["a", "b", "c", "d", "e", "f", "flag", "items", "name", "names", "other", "x"], _Anything("x")
    )
    known |= {"m": _Anything("m")} if "items" not in source else {"m": {"k": "v"}}
    fill_with(source, known)
    for missing in names:
        with pytest.raises(RenderError):
            fill_with(source, {name: value for name, value in known.items() if name != missing})


def test_needed_names_of_all_fields() -> None:
    spec = Spec(
        v=1,
        kind="template",
        from_="{{ f }} <a@x.org>",
        to="{{ t }} <{{ email }}>",
        reply_to="{{ r }}",
        subject="{{ s }}",
        text="{{ p }}",
        html="{{ h }}",
        headers=(("X-{{ never }}", "{{ v }}"),),
        attachments=(AttachmentRef("0", "{{ n }}.pdf", "application/pdf", 1),),
    )
    assert needed_names(spec) == {"f", "t", "r", "s", "p", "h", "v", "n"}
    assert needed_names(Spec(v=1, kind="literal", from_="a@x.org", text="{{ x }} {% bad")) == frozenset()


def test_uses_row() -> None:
    def uses(source: str, kind: Literal["template", "literal"] = "template") -> bool:
        return uses_row(Spec(v=1, kind=kind, from_="a@x.org", text="x", subject=source))

    assert uses("{% if x %}{{ row['First Name'] }}{% endif %}")
    assert not uses("{{ rows }} row {{ x.row }}")
    assert not uses("{{ row }}", "literal")


def test_missing_sentence() -> None:
    assert missing_sentence("Name", 17, ["email", "name"]) == (
        "template needs {{ Name }}; row 17 has: email, name. Did you mean {{ name }}?"
    )
    assert missing_sentence("amount", "line 3", ["email", "row"]) == "template needs {{ amount }}; line 3 has: email."
    assert missing_sentence("first_name", 1, ["email", "First Name"]) == (
        "template needs {{ first_name }}; row 1 has: email, First Name. "
        'A name in a template is one word: rename the key "First Name" to "first_name".'
    )
    assert missing_sentence("x", 1, []) == "template needs {{ x }}; row 1 has: nothing."
    assert missing_sentence("x", 1, [f"c{i}" for i in range(14)]).endswith("c11 and 2 more.")
