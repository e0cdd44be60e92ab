"""The house rules of CONTRIBUTING.md as tests: each failure names the file, the line and the rule.

Run by `make test`. Reads the sources as text and as syntax trees; imports of ours happen in two tests at the end only.
Known limit: rules about wording and about secrets in messages cannot be read off a syntax tree; review keeps those.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
SOURCE_ROOTS = ("producer", "worker", "tests")
FILE_LINES = 400
FUNCTION_LINES = 50
LONGER_FUNCTIONS = {("worker/mailspool_worker/job.py", "deliver"): 80}
"""The list of hops is one page on purpose: a new reader learns the product from it."""

LONGEST_PAUSE_S = 0.05
"""Between two looks at a condition; longer ones add up over a thousand tests."""

TOP_LEVEL = {
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "constraints.txt",
    "deploy",
    "producer",
    "pyproject.toml",
    "tests",
    "worker",
}
HEAVY = (
    "redis",
    "pydantic",
    "pydantic_settings",
    "arq",
    "jinja2",
    "aiosmtplib",
    "typer",
    "rich",
    "structlog",
    "asyncio",
)
"""What `import mailspool` may not load: a script or a command that needs none of it shall not wait for it."""

UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
FUTURE = "from __future__ import annotations"

type_ignore = re.compile(r"#\s*type:\s*ignore(?P<code>\[[\w\-, ]+\])?\s*(?P<reason>.*)")


@cache
def sources() -> tuple[Path, ...]:
    return tuple(sorted(path for root in SOURCE_ROOTS for path in (HOUSE / root).rglob("*.py")))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(HOUSE).as_posix()}:{line}"


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute; "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def comments(path: Path) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


# Size


def long_files() -> Iterator[str]:
    for root in SOURCE_ROOTS:
        for path in (HOUSE / root).rglob("*"):
            if path.suffix in {".py", ".lua", ".toml"} and (lines := len(path.read_bytes().splitlines())) > FILE_LINES:
                yield f"{place(path, 1)} has {lines} lines, at most {FILE_LINES}"


def long_functions(path: Path, tree: ast.Module) -> Iterator[str]:
    name = path.relative_to(HOUSE).as_posix()
    for function in functions(tree):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        limit = LONGER_FUNCTIONS.get((name, function.name), FUNCTION_LINES)
        if lines > limit:
            yield f"{place(path, function.lineno)} {function.name} has {lines} lines, at most {limit}"


# Form


def without_manual(path: Path, tree: ast.Module) -> Iterator[str]:
    if not (ast.get_docstring(tree) or "").strip() and tree.body:
        yield f"{place(path, 1)} does not start with a docstring: what, who calls it, what it raises, known limits"


def without_future(path: Path, tree: ast.Module) -> Iterator[str]:
    code = [node for node in tree.body if not isinstance(node, ast.Expr)]
    if code and FUTURE not in path.read_text("utf-8"):
        yield f"{place(path, 1)} lacks {FUTURE!r}"


def unfinished(path: Path, tree: ast.Module) -> Iterator[str]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if found := UNFINISHED.search(line):
            yield f"{place(path, number)} holds {found[0]}: finish it, or leave it out"
    for node in ast.walk(tree):
        raised = node.exc if isinstance(node, ast.Raise) else None
        raised = raised.func if isinstance(raised, ast.Call) else raised
        if raised is not None and dotted(raised) == "NotImplementedError":
            yield f"{place(path, raised.lineno)} raises NotImplementedError: finish it, or leave it out"


def ignores_without_reason(path: Path, tree: ast.Module) -> Iterator[str]:
    for number, comment in comments(path):
        found = type_ignore.match(comment)
        if found and not (found["code"] and found["reason"].lstrip("#- ").strip()):
            yield f"{place(path, number)} ignores a type error without its code and a reason on the same line"


# Silence


def swallowed(path: Path, tree: ast.Module) -> Iterator[str]:
    """Handlers that catch everything and say nothing, in either spelling."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and catches_all(node.type) and all(map(is_silent, node.body)):
            yield f"{place(path, node.lineno)} swallows every exception silently"
        if isinstance(node, ast.Call) and dotted(node.func).endswith("suppress") and any(map(catches_all, node.args)):
            yield f"{place(path, node.lineno)} suppresses every exception"


def catches_all(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(map(catches_all, kind.elts))
    return kind is None or dotted(kind) in {"Exception", "BaseException"}


def is_silent(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass | ast.Continue) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


# Tests


def sleeps(path: Path, tree: ast.Module) -> Iterator[str]:
    """A test waits for an event or a condition, with a deadline; a sleep is either too short or too long.

    What is left is the pause of a helper in tests/support that asks again and again until its deadline.
    """
    polls = set(map(id, poll_pauses(tree))) if path.is_relative_to(HOUSE / "tests" / "support") else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time" and any(a.name == "sleep" for a in node.names):
            yield f"{place(path, node.lineno)} imports sleep from time"
        if not isinstance(node, ast.Call) or id(node) in polls:
            continue
        if dotted(node.func) == "time.sleep":
            yield f"{place(path, node.lineno)} sleeps; wait for a condition with a deadline"
        if dotted(node.func) == "asyncio.sleep" and seconds(node) >= 1:
            yield f"{place(path, node.lineno)} sleeps a second or more; wait for a condition with a deadline"


def poll_pauses(tree: ast.Module) -> Iterator[ast.Call]:
    loops = (node for node in ast.walk(tree) if isinstance(node, ast.While))
    calls = (node for loop in loops for node in ast.walk(loop) if isinstance(node, ast.Call))
    return (call for call in calls if dotted(call.func) == "time.sleep" and 0 < seconds(call) <= LONGEST_PAUSE_S)


def seconds(call: ast.Call) -> float:
    """The constant that is slept for; 0 where it is computed."""
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, int | float) else 0


def skips_without_reason(path: Path, tree: ast.Module) -> Iterator[str]:
    marks = {f"pytest.mark.{name}" for name in ("skip", "skipif", "xfail")}
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            named = any(keyword.arg == "reason" for keyword in node.keywords)
            if dotted(node.func) == "pytest.skip" and not (node.args or named):
                yield f"{place(path, node.lineno)} skips without a reason"
            if dotted(node.func) in marks and not named:
                yield f"{place(path, node.lineno)} is marked to be skipped without reason="
        elif isinstance(node, ast.Attribute) and dotted(node) in marks and id(node) not in called:
            yield f"{place(path, node.lineno)} is marked to be skipped without reason="


Rule = Callable[[Path, ast.Module], Iterator[str]]
EVERYWHERE: tuple[Rule, ...] = (
    long_functions,
    without_manual,
    without_future,
    unfinished,
    ignores_without_reason,
    swallowed,
)
IN_TESTS: tuple[Rule, ...] = (sleeps, skips_without_reason)


def broken(rule: Rule, paths: tuple[Path, ...]) -> list[str]:
    return [problem for path in paths for problem in rule(path, tree_of(path))]


def test_no_file_is_too_long() -> None:
    assert not list(long_files())


@pytest.mark.parametrize("rule", EVERYWHERE, ids=lambda rule: rule.__name__)
def test_rule_for_every_source(rule: Rule) -> None:
    assert not broken(rule, sources())


@pytest.mark.parametrize("rule", IN_TESTS, ids=lambda rule: rule.__name__)
def test_rule_for_tests(rule: Rule) -> None:
    assert not broken(rule, tuple(path for path in sources() if path.is_relative_to(HOUSE / "tests")))


def test_every_lua_script_starts_with_what_it_does() -> None:
    scripts = sorted((HOUSE / "producer").rglob("*.lua"))
    assert scripts
    assert not [place(path, 1) for path in scripts if not path.read_text("utf-8").startswith("--")]


BAD: dict[Rule, str] = {
    long_functions: "def f():\n" + "    x = 1\n" * FUNCTION_LINES,
    without_manual: "x = 1\n",
    without_future: "'''Manual.'''\nx = 1\n",
    unfinished: "raise NotImplementedError(1)\n",
    ignores_without_reason: "x = 1  # type: " + "ignore[misc]\n",
    swallowed: "try:\n    pass\nexcept (OSError, Exception):\n    pass\n",
    sleeps: "import time\nwhile True:\n    time.sleep(0.01)\n",
    skips_without_reason: "import pytest\n@pytest.mark.skip\ndef test(): ...\n",
}


@pytest.mark.parametrize("rule", [*EVERYWHERE, *IN_TESTS], ids=lambda rule: rule.__name__)
def test_each_rule_notices_its_fault(rule: Rule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "HOUSE", tmp_path)
    path = tmp_path / "bad.py"
    path.write_text(BAD[rule], "utf-8")
    assert list(rule(path, ast.parse(BAD[rule])))


def test_a_helper_that_asks_again_may_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "HOUSE", tmp_path)
    support = tmp_path / "tests" / "support" / "waiting.py"
    assert not list(sleeps(support, ast.parse("while True:\n    time.sleep(0.01)\n")))
    assert list(sleeps(support, ast.parse("while True:\n    time.sleep(0.5)\n")))
    assert list(sleeps(support, ast.parse("time.sleep(0.01)\n")))


# The house as a whole


def test_the_top_level_holds_what_it_should_and_nothing_else() -> None:
    if not (HOUSE / ".git").exists():
        pytest.skip("not a checkout: build artefacts cannot be told from sources")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=HOUSE,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    present = {name.split("/", 1)[0] for name in listed if name and not name.startswith(".")}
    assert present == TOP_LEVEL


def test_the_changelog_names_this_version() -> None:
    project = (HOUSE / "pyproject.toml").read_text("utf-8")
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert version
    assert f"## {version[1]}" in (HOUSE / "CHANGELOG.md").read_text("utf-8")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "deploy/README.md"])
def test_every_path_a_page_names_exists(page: str) -> None:
    text = (HOUSE / page).read_text("utf-8")
    inside = set(re.findall(r"(?<![\w/.-])(?:producer|worker|tests|deploy|\.ci)/[\w./*-]*[\w*/]", text))
    links = {found.split("#", 1)[0] for found in re.findall(r"\]\((?!https?:|#|mailto:)([^)\s]+)\)", text)}
    missing = {name for name in inside if not list(HOUSE.glob(name.rstrip("/")))}
    missing |= {name for name in links if not ((HOUSE / page).parent / name).exists()}
    assert not missing, f"{page} names what is not there: {sorted(missing)}"


def test_the_constraints_pin_every_file_and_name_no_index() -> None:
    text = (HOUSE / "constraints.txt").read_text("utf-8")
    entries = re.split(r"\n(?=[\w.-]+==)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    assert len(entries) > 20
    assert not [entry.split("==")[0] for entry in entries if "--hash=sha256:" not in entry or "==" not in entry]
    assert not re.search(r"://|^\s*-|file:|@ ", text.replace("    --hash", ""), re.MULTILINE)


def test_importing_mailspool_loads_nothing_heavy() -> None:
    """Also after looking at the public names, which type checkers and editors do."""
    code = f"import sys, mailspool; dir(mailspool); print(*sorted(sys.modules.keys() & set({HEAVY!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HOUSE / "producer", check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == []


def public_things() -> Iterator[tuple[str, object]]:
    for package in ("mailspool", "mailspool_worker"):
        module = importlib.import_module(package)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield f"{package}.{name}", thing
                yield from own_methods(f"{package}.{name}", thing)


def own_methods(owner: str, thing: object) -> Iterator[tuple[str, object]]:
    for name, member in vars(thing).items() if inspect.isclass(thing) else ():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if not name.startswith("_") and inspect.isfunction(function):
            yield f"{owner}.{name}", function


def own_docstring(thing: object) -> str:
    """What a person wrote; a dataclass without words gets its signature as `__doc__`, which says nothing."""
    words = (getattr(thing, "__doc__", None) or "").strip()
    return "" if words.startswith(f"{getattr(thing, '__name__', '')}(") else words


def test_every_public_name_has_a_docstring() -> None:
    assert not [name for name, thing in public_things() if not own_docstring(thing)]
