"""Jinja2 for mails: the templated fields of a batch, compiled once, filled a row at a time.

Called by mime.py (worker and producer) and by the producer before a commit (`needed_names`, `missing_sentence`).
All fields of a batch that hold Jinja are ONE compiled template with NUL between them, rendered by its root function:
a third of the cost of rendering each. Every field is a scope of its own with its own autoescape (on in html only), so
that the texts equal those of separate renderings. There is nothing random in it: the same row gives the same text.
Raises InputError (a template that does not compile; field and line) and RenderError (a row that cannot be rendered).
What a rendering may take of memory and time is bounded.py's matter.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from types import NoneType
from typing import NamedTuple, cast

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError, UndefinedError
from markupsafe import Markup

from mailspool.content.bounded import BoundedEnvironment
from mailspool.content.counting import counted
from mailspool.content.guesses import is_template, not_closed, suggestion
from mailspool.content.needs import printed, surely_needed
from mailspool.content.spending import SHORT, STEPS, BoundedContext, TooMuchError, concat, spend_long
from mailspool.contract.records import Spec
from mailspool.errors import InputError

SEPARATOR = "\0"
"""Between the fields; no field and no value may hold one."""
_SUPPLIED = frozenset({"email", "row", "self"})
"""Names that every rendering has beside the row's values."""
_NOT_REPEATABLE_FILTERS = ("random",)
_NOT_REPEATABLE_GLOBALS = ("lipsum",)
"""Every attempt must send identical bytes."""
_KEYWORDS = frozenset(
    ("and", "call", "elif", "else", "filter", "for", "if", "in", "is", "macro", "not", "or", "recursive", "set", "with")
)
"""Words of Jinja's own that stand between names."""
_NAMES_SHOWN = 12
_REMEMBER_CHARS = 262_144
_MOST_TAGS = 5_000
_MOST_TOKENS = 30_000
"""Of one field: compiling these takes up to five seconds, and every worker does it."""
_NO_FILES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)
_NUMBERS = frozenset((int, float, bool, NoneType))
_TEXT_TYPES = frozenset((str, Markup, int, float, bool, NoneType, Decimal, list, dict, tuple))


class RenderError(Exception):
    """This row cannot be rendered. `.reason` is one short sentence without any of the row's values."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _NotTextError(Exception):
    """A template prints something that is no text; `kind` names its type."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Field(NamedTuple):
    """One templated text of a batch: `key` for the code, `label` for people."""

    key: str
    label: str
    source: str
    html: bool = False


@pass_context
def _printable(context: BoundedContext, value: object) -> object:
    """What `{{ }}` may print. Methods, generators and other objects print as their memory address: always a mistake."""
    kind = type(value)
    if kind in _NUMBERS or (kind is str and len(cast("str", value)) <= SHORT):
        return value
    spend_long(context, value)
    if type(value) in _TEXT_TYPES or isinstance(value, str | date | time | timedelta | int | float | Undefined):
        return value
    raise _NotTextError(type(value).__name__)


def _environment() -> BoundedEnvironment:
    env = BoundedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, finalize=_printable)
    for name in _NOT_REPEATABLE_FILTERS:
        del env.filters[name]
    for name in _NOT_REPEATABLE_GLOBALS:
        del env.globals[name]
    env.limit()
    return env


_ENV = _environment()
_GLOBALS: Mapping[str, object] = dict(_ENV.globals)
"""A plain dict, which is copied fastest: once a mail."""


def tags_of(source: str) -> Iterator[tuple[str, str]]:
    """A template's source in pieces: ("v", `{{ }}`), ("b", any other tag), ("", text). Raises TemplateSyntaxError."""
    open_kinds = {"variable_begin": "v", "block_begin": "b", "comment_begin": "b"}
    tag, kind = "", ""
    for _, token, text in _ENV.lex(source):
        if not kind and token in open_kinds:
            kind = open_kinds[token]
        if kind:
            tag += text
            if token in ("variable_end", "block_end", "comment_end"):
                yield kind, tag
                tag, kind = "", ""
        else:
            yield ("b" if token in ("raw_begin", "raw_end") else ""), text


class Templates:
    """The fields of a batch. `constant` holds the texts that no row changes; `fill` renders the others."""

    def __init__(self, fields: Sequence[Field], *, literal: bool = False) -> None:
        self.constant: dict[str, str] = {}
        dynamic: list[tuple[Field, nodes.Template]] = []
        for field in fields:
            tree = _parse(field) if not literal and is_template(field.source) else None
            text = field.source if tree is None else _constant_text(tree)
            if text is not None:
                _refuse_nul(field, text)
                self.constant[field.key] = text
            elif tree is not None:
                dynamic.append((field, tree))
        self.dynamic: tuple[Field, ...] = tuple(field for field, _ in dynamic)
        self.keys: tuple[str, ...] = tuple(field.key for field in self.dynamic)
        self.uses: Counter[str] | None = Counter()
        for _, tree in dynamic:
            uses = printed(tree.body)
            self.uses = None if uses is None or self.uses is None else self.uses + uses
        self._template = _merge(dynamic) if dynamic else None
        self._join: Callable[[Iterable[str]], str] = "".join if self.uses is not None else concat

    def fill(self, values: Mapping[str, object], recipient: str) -> list[str]:
        """The texts of the dynamic fields, in their order. Raises RenderError."""
        template = self._template
        if template is None:
            return []
        names = {**_GLOBALS, "email": recipient, "row": values, **values}
        context = _ENV.context_class(_ENV, names, None, template.blocks)
        pieces: list[str] = []
        try:
            pieces.extend(template.root_render_func(context))  # keeps what came before an error
            whole = self._join(pieces)
            if len(whole) > STEPS:
                raise TooMuchError
            texts = whole.split(SEPARATOR)
        except Exception as error:  # noqa: BLE001 - a template may raise anything; it becomes this row's reason
            label = self.dynamic[min(pieces.count(SEPARATOR), len(self.dynamic) - 1)].label
            raise RenderError(f"{label}: {_reason(error)}") from None
        if len(texts) != len(self.dynamic):
            raise RenderError("a value holds a NUL character")
        return texts


def _parse(field: Field) -> nodes.Template:
    """The tree of a field that can be compiled; a batch asks for it several times, and is checked once."""
    if len(field.source) <= _REMEMBER_CHARS:
        _check_once(field)
    else:
        _check(field)
    return _ENV.parse(field.source)


@lru_cache(maxsize=16)
def _check_once(field: Field) -> None:
    _check(field)


def _check(field: Field) -> None:
    """Raises InputError for a template that cannot be rendered, whatever the row."""
    _refuse_nul(field, field.source)
    try:
        _refuse_long(field)
        tree = _ENV.parse(field.source)
        _refuse_foreign(field, tree)
        _ENV.compile(counted(tree), defer_init=True)  # finds what parsing alone does not; it leaves marks in the tree
    except TemplateSyntaxError as error:
        what = error.message or "it cannot be read"
        if tag := not_closed(field.source, error.lineno):
            raise _syntax_error(field, tag.line, f"a {tag.sign} is not closed: {tag.missing} is missing") from None
        if typed := _spaced_name(field.source, error.lineno, what):
            raise _not_one_word(field, error.lineno, typed) from None
        raise _syntax_error(field, error.lineno, what) from None
    except UndefinedError:  # Jinja works out what is constant
        raise _syntax_error(field, 1, "something that it asks for can have no value") from None
    except InputError:
        raise
    except (RecursionError, SyntaxError):  # Python allows 20 blocks inside one another
        raise _syntax_error(field, 1, "it is nested too deeply") from None
    except ValueError:  # Python reads and writes integers of 4,300 digits
        raise _syntax_error(field, 1, "a number has too many digits") from None


def _spaced_name(source: str, line: int, what: str) -> str:
    """`first name`, if that is what the parser stumbled over in this line; else nothing."""
    try:
        tokens = list(_ENV.lex(source))
    except TemplateSyntaxError:
        return ""
    words: list[str] = []
    for number, kind, text in [*tokens, (0, "end", "")]:
        if kind == "whitespace":
            continue
        if number == line and text not in _KEYWORDS and (kind == "name" or (kind == "integer" and words)):
            words.append(text)
            continue
        if any(what.endswith(f", got '{word}'") for word in words[1:]):
            return " ".join(words)
        words = []
    return ""


def _not_one_word(field: Field, line: int, typed: str) -> InputError:
    name = "_".join(typed.lower().split())
    error = _syntax_error(
        field, line, f'"{typed}" is not one word, and a name in a template is. Did you mean {{{{ {name} }}}}?'
    )
    hint = f"the columns of a list file are named in lower case, with _ for spaces: {name}"
    return InputError(error.message, hint=hint, code=error.code)


def _refuse_long(field: Field) -> None:
    """Raises TemplateSyntaxError, too: it reads the source, where that is long enough to hold too much."""
    source = field.source
    tags = sum(source.count(sign) for sign in ("{{", "{%", "{#"))
    if tags > _MOST_TAGS:
        raise _syntax_error(field, 1, f"it has {tags:,} tags, and {_MOST_TAGS:,} are allowed: let a loop write them")
    if len(source) > _MOST_TOKENS and next(islice(_ENV.lex(source), _MOST_TOKENS, None), None):
        raise _syntax_error(field, 1, f"its tags hold more than {_MOST_TOKENS:,} names, numbers and signs")


def _refuse_foreign(field: Field, tree: nodes.Template) -> None:
    for node in tree.find_all(_NO_FILES):
        word = "import" if isinstance(node, nodes.FromImport) else type(node).__name__.lower()
        raise _syntax_error(field, node.lineno, f"{{% {word} %}} is not offered in a mail: a template is one text")
    for used in tree.find_all(nodes.Filter):
        _refuse_unknown(field, used.lineno, "filter", used.name, _ENV.filters)
    for asked in tree.find_all(nodes.Test):
        _refuse_unknown(field, asked.lineno, "test", asked.name, _ENV.tests)


def _refuse_unknown(field: Field, line: int, kind: str, name: str, table: Mapping[str, object]) -> None:
    if name not in table:
        near = difflib.get_close_matches(name, table, 1)
        guess = f' Did you mean "{near[0]}"?' if near else ""
        raise _syntax_error(field, line, f'there is no {kind} "{name}".{guess}')


def _refuse_nul(field: Field, text: str) -> None:
    if SEPARATOR in text:
        raise InputError(f"{field.label} holds a NUL character: no mail may.", code="bad_template")


def _syntax_error(field: Field, line: int, what: str) -> InputError:
    where = f"{field.label} line {line}" if "\n" in field.source.rstrip("\n") else field.label
    return InputError(
        f"{where}: {what if what.endswith(('.', '?')) else what + '.'}",
        code="bad_template",
        hint="For text that is no template, send() takes it literally; in a template write {% raw %}...{% endraw %}.",
    )


def _constant_text(tree: nodes.Template) -> str | None:
    """The text of a template that holds nothing but text (comments, raw blocks), else None."""
    parts: list[str] = []
    for node in tree.body:
        if not isinstance(node, nodes.Output):
            return None
        for part in node.nodes:
            if not isinstance(part, nodes.TemplateData):
                return None
            parts.append(part.data)
    return "".join(parts)


def _merge(fields: Sequence[tuple[Field, nodes.Template]]) -> Template:
    """One template out of many: joined as syntax trees, so that no field's tags reach into another one."""
    body: list[nodes.Node] = []
    for field, tree in fields:
        if body:
            body.append(nodes.Output([nodes.TemplateData(SEPARATOR)], lineno=1))
        escape = nodes.ScopedEvalContextModifier(lineno=1)
        escape.options = [nodes.Keyword("autoescape", nodes.Const(field.html), lineno=1)]
        escape.body = counted(tree).body
        body.append(nodes.Scope([escape], lineno=1))
    whole = nodes.Template(body, lineno=1)
    whole.set_environment(_ENV)
    return Template.from_code(_ENV, _ENV.compile(whole), dict(_GLOBALS))


def _reason(error: Exception) -> str:
    """One sentence without values: of foreign exceptions only the type is told."""
    if isinstance(error, UndefinedError):
        words = (error.message or "").split("'")
        if len(words) == 3 and not words[0] and words[2] == " is undefined":
            return f"{{{{ {words[1]} }}}} has no value"
        return "something that it asks for has no value"
    if isinstance(error, _NotTextError):
        if error.kind in ("generator", "map", "filter", "reversed"):
            return f"it prints a {error.kind}, not a text: add |join or |list"
        return f"it prints a {error.kind}, not a text: are the brackets () missing?"
    if isinstance(error, TooMuchError):
        return f"{error.what or 'it'} asks for more text or more work than is allowed in a template"
    if isinstance(error, MemoryError):
        return "it asks for more text or more work than is allowed in a template"
    if isinstance(error, SecurityError):
        return "it does something that is not allowed in a template"
    return f"it cannot be filled ({type(error).__name__})"


def fields_of(spec: Spec) -> list[Field]:
    """Every field of a spec that may hold Jinja, mailboxes cut into name and address where that is possible."""
    fields = [Field("subject", "subject", spec.subject)]
    if spec.text is not None:
        fields.append(Field("text", "text", spec.text))
    if spec.html is not None:
        fields.append(Field("html", "html", spec.html, html=True))
    for key, source in (("from", spec.from_), ("to", spec.to), ("reply_to", spec.reply_to)):
        if source is not None:
            fields += _mailbox_fields(key, source)
    fields += [Field(f"header:{i}", f"header {name}", value) for i, (name, value) in enumerate(spec.headers)]
    fields += [Field(f"name:{i}", "attachment name", ref.name) for i, ref in enumerate(spec.attachments)]
    return fields


def _mailbox_fields(key: str, source: str) -> list[Field]:
    """`{{ name }} <{{ email }}>` as two fields: then no character of a name (a comma, `<`) can change the address."""
    whole = source.strip()
    cut = whole.rfind("<")
    if is_template(source) and whole.endswith(">") and cut > 0:
        name, address = whole[:cut].strip(), whole[cut + 1 : -1]
        if len(name) > 1 and name[0] == name[-1] == '"':
            name = name[1:-1].replace('\\"', '"')
        halves = [Field(f"{key}.name", key, name), Field(key, key, address)]
        try:
            for half in halves:
                _ENV.parse(half.source)
        except (TemplateSyntaxError, RecursionError, ValueError):
            # The `<` stands inside a tag: read as a whole, row by row. What is wrong in any case, `_parse` says then.
            return [Field(key, key, source)]
        return halves
    return [Field(key, key, source)]


def needed_names(spec: Spec) -> frozenset[str]:
    """The names that every row must have, or its mail cannot be rendered. Raises InputError as `Templates` does."""
    if spec.kind != "template":
        return frozenset()
    needed: set[str] = set()
    for field in fields_of(spec):
        if is_template(field.source):
            needed |= surely_needed(_parse(field).body, _SUPPLIED | _GLOBALS.keys())
    return frozenset(needed)


def uses_row(spec: Spec) -> bool:
    """Whether any field reads `row`, the exact headers of a list: then they must be stored with every row."""
    if spec.kind != "template":
        return False
    sources = (field for field in fields_of(spec) if is_template(field.source))
    return any(name.name == "row" for field in sources for name in _parse(field).find_all(nodes.Name))


def missing_sentence(name: str, row: int | str, have: Iterable[str]) -> str:
    """`template needs {{ Name }}; row 17 has: email, name. Did you mean {{ name }}?`"""
    where = f"row {row}" if isinstance(row, int) else row
    names = [other for other in have if other != "row"]
    shown = ", ".join(names[:_NAMES_SHOWN]) or "nothing"
    if len(names) > _NAMES_SHOWN:
        shown += f" and {len(names) - _NAMES_SHOWN} more"
    by_case = {other.casefold(): other for other in names}
    near = difflib.get_close_matches(name.casefold(), by_case, 1, cutoff=0.7)
    near = near or [other for other in by_case if other.startswith(f"{name.casefold()}_")]  # {{ first-name }}
    guess = suggestion(name, by_case[near[0]]) if near else ""
    return f"template needs {{{{ {name} }}}}; {where} has: {shown}.{guess}"
