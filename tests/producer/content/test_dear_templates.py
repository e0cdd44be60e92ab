"""The dearest that templates can ask for: each ends soon, by its price and not by a clock.

Every template here took seconds or gigabytes, or would in a loop, if its operands had no price. The random ones put the
same operations together as nobody would. A process of their own, with limits to memory and to processor time, runs
them: a price that is lost is an error here, and not the end of the machine.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import Environment

from mailspool.content.pricing import backward, forward
from mailspool.content.render import Field, RenderError, Templates
from mailspool.content.spending import STEPS, BoundedContext, TooMuchError
from mailspool.content.widths import check_printf
from mailspool.errors import InputError
from tests.support.edition import pick

MEMORY_BYTES = 1 << 30
PROCESSOR_S = 3
"""Of one template: three times what the dearest takes on a machine that has nothing else to do. The kernel ends the
process, so that no test compares times."""

OPERANDS = {
    "big": '"x" * 500_000',
    "same": '"x" * 499_999 + "z"',
    "words": '"word, " * 80_000',
    "astral": '"\\U0001f600 " * 250_000',
    "dashes": '"a" + "-" * 500_000',
    "dots": '"x." * 250_000 + "x"',
    "opened": '"<!--" * 120_000',
    "marked": '"<a b=1>&" * 60_000',
    "keys": '"%(" * 250_000',
    "fields": '"{0}" * 160_000',
    "middle": '"m" * 3_000',
    "needle": '"m" * 1_400 + "n"',
    "late": '"x" * 250_000 + "y"',
    "numbers": "list(range(25_000))",
    "texts": '["x" * 50 + str(n) for n in range(8_000)]',
    "nested": "[[n, [n]] for n in range(8_000)]",
    "table": '{f"k{n}": n for n in range(15_000)}',
    "digits": 'Decimal("0." + "3" * 500_000)',
    "hex": '"f" * 500_000',
    "short": '"abc"',
    "line": '"z" * 200',
    "day": "date(2024, 1, 1)",
}
AT_ONCE = [
    "{{ big.rfind(late) }}",
    "{{ big.rsplit(late) }}",
    "{{ big.strip('y' * 400000 ~ 'x') }}",
    "{{ keys % 1 }}",
    "{{ '%(a(b))999999999d' % {'a(b)': 1} }}",
    "{{ ('x'.encode() * 10 ** 9)|length }}",
    "{{ ('%999999999d'.encode() % 1)|length }}",
    "{{ fields.format(numbers) }}",
    "{{ dashes|wordwrap }}",
    "{{ ('.' * 100000 ~ 'x)')|urlize }}",
    "{{ opened|striptags }}",
    "{{ (opened|safe).striptags() }}",
    "{{ (big|safe).center(10 ** 9)|length }}",
    "{{ hex|int(base=16) % 7 }}",
    "{{ digits.as_integer_ratio()|length }}",
    "{{ '%s' % table.items() }}" * 50,
    "{{ range(1000)|join(words)|length }}",
    "{{ day.strftime('%Y' * 100000)|length }}",
    "{{ range(100000)|select('equalto', -1)|list }}" * 10,
    "{{ numbers|map(attribute='" + "0." * 10_000 + "0')|list }}",
    "{% macro m(s) %}{{ m(s ~ 'x') }}{% endmacro %}{{ m(astral) }}",
    "".join(f"{{% set a{n} = astral ~ 'x' %}}" for n in range(300)),
    "".join(f"{{% set a{n} = astral[1:] %}}" for n in range(300)),
]
IN_A_LOOP = [
    "{% if big == same ~ 'x' %}{% endif %}",
    "{% if big < same < big %}{% endif %}",
    "{% if nested == copied %}{% endif %}",
    "{% if big is eq(same) %}{% endif %}{% if big is upper %}{% endif %}",
    "{% if needle in middle %}{% endif %}",
    "{% if middle is in(nested) %}{% endif %}",
    "{{ big[1:]|length }}{{ numbers[1:]|length }}",
    "{{ table[(nested, nested)] is defined }}",
    "{{ big|title|length }}",
    "{{ big.title()|length }}{{ big.count('xy') }}",
    "{{ middle.rfind(needle) }}",
    "{{ line.strip(line) }}" * 50,
    "{{ line ~ i }}" * 50,
    "{{ i }}" * 300,
    "{{ -i }}{{ i * 3 // 7 % 5 }}" * 50,
    "{{ digits }}",
    "{{ digits - 1 }}",
    "{{ loop.cycle(*numbers) }}{{ loop.changed(nested) }}",
    "{% set t %}" + "y" * 100_000 + "{{ i }}{% endset %}",
    "{% set ns.a = ns.a ~ line %}",
    "{% set ns.b = ns.b + [i] %}",
    "{% for j in range(9) %}" + "{{ short.upper() }}" * 50 + "{% endfor %}",
]
LOOP = (
    "{{% set copied = nested + [] %}}{{% set ns = namespace(a='', b=[]) %}}"
    "{{% for i in range(100000) %}}{}{{% endfor %}}"
)

_RUN = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
from datetime import date
from decimal import Decimal
from mailspool.content.render import Field, RenderError, Templates
from mailspool.errors import InputError
values = dict({values})
for n, source in enumerate({sources!r}):
    print("began:", source[-200:], file=sys.stderr)
    try:
        templates = Templates([Field("text", "text", source, n % 2 == 1)])
    except InputError:
        continue
    spent = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(spent.ru_utime + spent.ru_stime) + {seconds} + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
    try:
        templates.fill(values, "u@x.test")
    except RenderError:
        pass
print("done")
"""


def run_all(sources: list[str]) -> None:
    values = ", ".join(f"{name}={value}" for name, value in OPERANDS.items())
    program = _RUN.format(memory=MEMORY_BYTES, values=values, sources=sources, seconds=PROCESSOR_S)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr.splitlines()[-1:]


def test_dear_operations_end_soon() -> None:
    run_all(AT_ONCE)


def test_dear_operations_in_loops_end_soon() -> None:
    run_all([LOOP.format(body) for body in IN_A_LOOP])


# -- random templates


def words(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from(text.split())


NAMES = st.sampled_from([*OPERANDS, "ns.a", "i", "1", "'ab'", "'%s%s'", "[]", "range(100000)", "'cp1252'"])
METHODS = words(
    "find count split rsplit partition rfind replace strip startswith title casefold center expandtabs encode translate"
    " join splitlines format index copy items decode to_bytes as_integer_ratio strftime striptags"
)
FILTERS = words(
    "upper title trim length first list sort unique reverse join string int float e safe wordcount striptags urlize"
    " urlencode xmlattr tojson pprint dictsort sum min wordwrap truncate indent center round replace format map select"
    " batch default"
)
OPERATORS = words("+ - * / // % ** ~ == != < in")


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, OPERATORS, inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, METHODS, st.lists(inner, max_size=2)).map(lambda t: f"({t[0]}).{t[1]}({', '.join(t[2])})"),
        st.tuples(inner, FILTERS, st.lists(inner, max_size=2)).map(lambda t: f"({t[0]}|{t[1]}({', '.join(t[2])}))"),
        inner.map(lambda text: f"({text})[1:]"),
        st.tuples(inner, inner).map(lambda t: f"[{t[0]}, {t[1]}]"),
    )


EXPRESSIONS = st.recursive(NAMES, _larger, max_leaves=5)
STATEMENTS = st.recursive(
    st.one_of(
        EXPRESSIONS.map(lambda text: f"{{{{ {text} }}}}"),
        EXPRESSIONS.map(lambda text: f"{{% set ns.a = {text} %}}"),
        EXPRESSIONS.map(lambda text: f"{{% if {text} %}}x{{% endif %}}"),
    ),
    lambda inner: st.tuples(EXPRESSIONS, st.lists(inner, min_size=1, max_size=3)).map(
        lambda t: f"{{% for i in {t[0]} %}}{''.join(t[1])}{{% endfor %}}"
    ),
    max_leaves=5,
)


@settings(deadline=None, max_examples=pick(2, 60), suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STATEMENTS, min_size=40, max_size=40))
def test_random_operations_end_soon(bodies: list[str]) -> None:
    start = "{% set copied = [] %}{% set ns = namespace(a='q') %}"
    run_all([f"{start}{{% for i in range(100000) %}}{body}{{% endfor %}}" for body in bodies])


# -- prices


def test_a_search_from_the_end_costs_the_product_of_both_lengths() -> None:
    assert backward(1_000_000, 500_000) > STEPS > forward(1_000_000, 500_000)
    assert forward(2_400, 1_200) == 2_400 * 1_200 // 50
    assert forward(10, 11) == backward(10, 11) == 0


def test_a_round_costs_what_its_body_holds() -> None:
    texts: list[object] = []
    for body in ("{{ i }}", "{{ i }}" * 1000):
        templates = Templates([Field("text", "text", "{% for i in range(5000) %}" + body + "{% endfor %}")])
        try:
            texts.append(len(templates.fill({}, "u@x.test")[0]))
        except RenderError as error:
            texts.append(error.reason)
    assert texts == [18_890, "text: it asks for more text or more work than is allowed in a template"]


@pytest.mark.parametrize(
    ("form", "too_wide"),
    [
        ("%(a(b))9999999d", True),
        ("%(a)9999999d", True),
        ("%.9999999f", True),
        ("Tel. (030) 12345678 %s %%9999999d %5.2f", False),
        ("%(" * 400_000, False),
    ],
)
def test_the_widths_of_a_printf_format_are_found(form: str, too_wide: bool) -> None:
    context = BoundedContext(Environment(autoescape=True), {}, None, {})
    if too_wide:
        with pytest.raises(TooMuchError):
            check_printf(context, form, (1,))
    else:
        check_printf(context, form, (1,))


@pytest.mark.parametrize("source", ["{{ ''|first if ([]|first) else 'x' }}", "{{ 0x" + "f" * 1000 + " }}"])
def test_what_jinja_works_out_while_it_compiles_is_a_bad_template_s_error(source: str) -> None:
    with pytest.raises(InputError, match="text"):
        Templates([Field("text", "text", source)])


def test_where_a_rendering_failed_is_known_without_another_one() -> None:
    fields = [Field(f"{n}", f"field {n}", "{{ a }}") for n in range(3)]
    templates = Templates([*fields, Field("x", "last", "{{ a.rfind }}{{ b }}")])
    with pytest.raises(RenderError, match=r"^last: "):
        templates.fill({"a": "x"}, "u@x.test")
