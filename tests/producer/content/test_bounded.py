"""What no template and no value may do: take the memory of a worker, or keep its loop for itself.

The bombs run in a process of their own with a limit to its memory, so that a lost limit is an error here and not the
end of the machine. What stays allowed is compared with Jinja as it is.
"""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import pytest
from jinja2 import Environment, StrictUndefined

from mailspool.content.render import Field, RenderError, Templates
from mailspool.content.spending import STEPS, size_of

MEMORY_BYTES = 1 << 30
LIMIT_S = 60
"""Of all bombs of a group together; each takes a second at most."""


def again_and_again(step: str, end: str, start: str = "big") -> str:
    """`step` forty times, each upon the last one's result."""
    steps = (f"{step.replace('NEW', f'a{n + 1}').replace('OLD', f'a{n}')}" for n in range(40))
    return f"{{% set a0 = {start} %}}{''.join(steps)}{end.replace('OLD', 'a40')}"


WIDTHS = [
    "{{ 'x' * 10 ** 9 }}",
    "{{ name.center(10 ** 9) }}",
    "{{ name|center(10 ** 9) }}",
    "{{ 'x'|center(1000000000) }}",
    "{{ name.ljust(10 ** 9) }}",
    "{{ name.rjust(width) }}",
    "{{ name.zfill(10 ** 9) }}",
    "{{ '\\t'.expandtabs(10 ** 9) }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ '%.1000000000f'|format(1) }}",
    "{{ '%*d'|format(width, 1) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w=width) }}",
    "{{ '{a:1000000000}'.format_map({'a': 1}) }}",
    "{{ (name|attr('center'))(10 ** 9) }}",
    "{% filter center(10 ** 9) %}x{% endfilter %}",
    "{{ name|indent(10 ** 9) }}",
    "{{ name|batch(10 ** 9, 'x')|list }}",
    "{{ name|slice(10 ** 9)|list }}",
    "{{ [1]|tojson(1000000000) }}",
    "{{ 1.5|round(10 ** 9, 'ceil') }}",
    "{{ (1).to_bytes(10 ** 9, 'big') }}",
    "{{ 10 ** 100000 }}",
    "{{ huge|int }}",
    "{{ '%d' % huge }}",
    "{{ '{:f}'.format(huge) }}",
]
PRODUCTS = [
    "{{ big.replace('x', big) }}",
    "{{ big|replace('x', big) }}",
    "{{ big.replace('', big) }}",
    "{{ big.join(big) }}",
    "{{ big|join(big) }}",
    "{{ ([big] * 100000)|join }}",
    "{{ big.translate({120: big}) }}",
    "{{ big.encode('punycode') }}",
    "{{ ('%(a)s' * 100000) % {'a': big} }}",
    "{{ ('{0}' * 100000).format(big) }}",
    "{{ big|wordwrap(1) }}",
    "{{ big|wordwrap(9, wrapstring=big) }}",
    "{{ big|urlize(rel=big) }}",
    "{{ range(100000)|map('center', 1000000)|list|length }}",
    "{{ range(100000)|map('center', 1000000)|sort|length }}",
    "{{ lists|sum(start=[])|length }}",
    "{{ big|upper }}" * 1_000,
    again_and_again("{% set NEW = OLD ~ OLD %}", "{{ OLD }}"),
    again_and_again("{% set NEW = OLD + OLD %}", "{{ OLD }}"),
    again_and_again("{% set NEW = '%s%s'|format(OLD, OLD) %}", "{{ OLD }}"),
    again_and_again("{% set NEW %}{{ OLD }}{{ OLD }}{% endset %}", "{{ OLD }}"),
    again_and_again("{% set NEW = [OLD, OLD] %}", "{{ OLD }}", "[1]"),
    again_and_again("{% set NEW = {'x': OLD, 'y': OLD} %}", "{{ OLD }}", "[1]"),
    again_and_again("{% set NEW = dict(x=OLD, y=OLD) %}", "{{ OLD }}", "[1]"),
    again_and_again("{% set NEW = OLD * OLD %}", "{{ OLD % 7 }}", "3"),
]
LOOPS = [
    "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for i in range(100000)|map('abs') %}{% for j in range(100000)|map('abs') %}{% endfor %}{% endfor %}",
    "{% for i in range(90000) %}{{ big|upper|length }}{% endfor %}",
    "{% for i in range(90000) %}{{ big.upper()|length }}{% endfor %}",
    "{% for i in range(90000) %}{% if 'yx' in big %}{% endif %}{% endfor %}",
    "{% for i in range(90000) %}" + "y" * 20_000 + "{% endfor %}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% macro m() %}{% for i in range(90000) %}" + "y" * 20_000 + "{% endfor %}{% endmacro %}{{ m()|length }}",
    "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns.a }}",
]

_RUN = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
from decimal import Decimal
from mailspool.content.render import Field, RenderError, Templates
values = {{"name": "Ali", "big": "x" * 100_000, "width": 10**9, "huge": Decimal("1e999999999"),
          "lists": [[n] for n in range(30_000)]}}
for source in {bombs!r}:
    for html in (False, True):
        try:
            Templates([Field("text", "text", source, html)]).fill(values, "u@x.test")
            print("printed:", source[:200])
        except RenderError as error:
            if "than is allowed" not in error.reason and "RecursionError" not in error.reason:
                print(error.reason, source[:200])
"""


@pytest.mark.parametrize("bombs", [WIDTHS, PRODUCTS, LOOPS], ids=["widths", "products", "loops"])
def test_bombs_become_the_row_s_error(bombs: list[str]) -> None:
    program = _RUN.format(limit=MEMORY_BYTES, bombs=bombs)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


VALUES: dict[str, object] = {
    "name": "Ali & Söhne",
    "items": [{"what": f"thing {n}", "price": n * 9.5, "tags": ["a", "<b>"]} for n in range(300)],
    "amount": Decimal("12.50"),
    "n": 7,
}
ORDINARY = [
    "{{ 'x'|int(1000) }}{{ '7'|int(default=500) }}{{ name.encode('ascii', 'ignore').decode() }}{{ name|length }}",
    "{{ name.encode('cp1252')|length }}{{ name.encode('UTF-8').decode('UTF-8') }}{{ name.translate({246: 'oe'}) }}",
    "{% set ns = namespace(l=[], h='') %}{% for i in items %}{% set ns.l = ns.l + [i] %}"
    "{% set ns.h = ns.h ~ '<tr>' ~ i.what ~ '</tr>' %}{% endfor %}{{ ns.l|length }}{{ ns.h|length }}",
    "{% for i in items %}{% for j in items %}{% if i.what == j.what %}x{% endif %}{% endfor %}{% endfor %}",
    "{% set long = 'word ' * 20000 %}{{ long|wordwrap(72, false)|length }}"
    "{% for i in range(3000) %}{% if 'x' in long %}y{% endif %}{% endfor %}{{ long.split()|length }}",
    "{{ name.center(40) }}|{{ name|center(40) }}|{{ '%-20s|%5.2f'|format(name, amount) }}|{{ '%05d' % n }}",
    "{{ '{:>20}|{:,}'.format(name, 1234567) }}|{{ name.replace('&', 'und') }}|{{ name|replace('&', 'und') }}",
    "{% for i in items %}{{ loop.index }}/{{ loop.length }} {{ i.what|upper }}: {{ '%.2f'|format(i.price) }}\n"
    "{% for tag in i.tags if tag in 'abc' %}{{ tag }}{{ ', ' if not loop.last }}{% endfor %}{% endfor %}",
    "{{ items|map(attribute='what')|join(', ') }}{{ items|sum(attribute='price') }}{{ ', '.join(['a', name]) }}",
    "{% set ns = namespace(n=0) %}{% for i in items %}{% set ns.n = ns.n + i.price %}{% endfor %}{{ ns.n }}",
    "{% macro m(a) %}<b>{{ a }}</b>{{ caller() }}{% endmacro %}{% call m(name) %}{{ name ~ n }}{% endcall %}",
    "{% for i in items|groupby('what') %}{{ i.grouper }}{{ i.list|count }}{% endfor %}{{ items|batch(7)|list|count }}",
    "{% for k, v in {'a': 1, 'b': name}.items() %}{{ k }}{{ v }}{% endfor %}{{ [name, n] }}{{ (1, 2) }}{{ {'a': n} }}",
    "{% for x in [[1, [2]], [3]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}{{ n * 2 ** 10 % 9 }}",
    "{{ name|wordwrap(5) }}{{ name|indent(4, true) }}{{ [n]|tojson }}{{ 1.555|round(2) }}{{ '7'|int + 1 }}",
    "{{ name.encode('utf-8').hex() }}{{ ('<i>' ~ name)|striptags }}{% filter upper %}{{ name }}{% endfilter %}",
    "{{ ([[1], [2]]|sum(start=[]))|list }}{{ [3, 1]|sort|first }}{{ 'ab'|reverse }}{{ nothing|default('none') }}",
]


@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize("source", ORDINARY)
def test_what_mails_do_is_as_it_was(source: str, html: bool) -> None:
    plain = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=html)  # noqa: S701
    filled = Templates([Field("text", "text", source, html)]).fill(VALUES, "u@x.test")
    assert filled == [plain.from_string(source).render(VALUES)]


def test_each_rendering_has_all_its_steps() -> None:
    templates = Templates([Field("text", "text", "{% for i in range(40000) %}{% endfor %}{{ name }}")])
    assert [templates.fill(VALUES, "u@x.test") for _ in range(5)] == [["Ali & Söhne"]] * 5


def test_a_width_that_a_row_brings_is_told_without_its_value() -> None:
    templates = Templates([Field("a", "subject", "{{ name }}"), Field("b", "text", "{{ name.center(width) }}")])
    with pytest.raises(
        RenderError, match=r"^text: center\(\) asks for more text or more work than is allowed in a template$"
    ):
        templates.fill({"name": "Ali", "width": 123_456_789}, "u@x.test")


def test_the_size_of_what_is_nested_stops_soon() -> None:
    nested: object = "x"
    for _ in range(100):
        nested = [nested, nested]
    assert STEPS < size_of(nested) < 2 * STEPS
