"""What a template surely needs, and how much of a row it can print: two readings of Jinja's syntax tree. Pure.

Called by render.py. `surely_needed` never names a variable that some rendering can do without, because a
row that lacks a named one is refused before anything is queued. It may miss some: those are found by rendering.
It relies on StrictUndefined: every use of a missing value raises, only passing it on does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set

from jinja2 import nodes

_TOLERANT = frozenset({"default", "d", "items", "pprint"})
"""Filters that take a missing value without raising."""
_LAZY = frozenset({"batch", "map", "select", "reject", "selectattr", "rejectattr", "slice", "unique"})
"""Filters that raise only when somebody uses their result."""
_OUTPUT_AS_LONG = frozenset(
    {"capitalize", "d", "default", "e", "escape", "first", "last", "length", "lower"}
    | {"safe", "string", "striptags", "title", "trim", "upper"}
)
"""Filters whose result is not longer than what went in, but for escaping and special capitals (mime.py's factor)."""


class _Needs:
    def __init__(self, given: Set[str]) -> None:
        self.found: set[str] = set()
        self.bound = set(given)

    def body(self, body: Iterable[nodes.Node]) -> None:
        for node in body:
            self.statement(node)

    def statement(self, node: nodes.Node) -> None:
        match node:
            case nodes.Output():
                for part in node.nodes:
                    self.expression(part, forced=True)
            case nodes.If():
                self.expression(node.test, forced=True)
                self.bound |= _assigned(node)  # perhaps: so a later use is not sure to read the row
            case nodes.For():
                self.expression(node.iter, forced=True)  # the body may run no time at all
            case nodes.Assign():
                self.expression(node.node, forced=False)
                self.bound |= _names(node.target)
            case nodes.AssignBlock():
                self.inner(node.body)
                self.bound |= _names(node.target)
            case nodes.With():
                for value in node.values:
                    self.expression(value, forced=False)
                self.inner(node.body, set().union(*map(_names, node.targets)))
            case nodes.Macro():
                self.bound.add(node.name)  # its body runs only when it is called
            case nodes.CallBlock():
                self.expression(node.call, forced=True)
            case nodes.FilterBlock() | nodes.Scope() | nodes.ScopedEvalContextModifier():
                self.inner(node.body)
            case _:
                pass

    def inner(self, body: Iterable[nodes.Node], names: Set[str] = frozenset()) -> None:
        outside = set(self.bound)
        self.bound |= names
        self.body(body)
        self.bound = outside

    def expression(self, node: nodes.Node, *, forced: bool) -> None:
        """`forced`: the surroundings use the value, so that a missing one raises."""
        match node:
            case nodes.Name():
                if forced and node.name not in self.bound:
                    self.found.add(node.name)
            case nodes.Filter():
                if node.node is not None:
                    lazy = node.name in _LAZY
                    self.expression(node.node, forced=forced if lazy else node.name not in _TOLERANT)
                self.passed(node.args)
            case nodes.Test():
                self.expression(node.node, forced=False)
                self.passed(node.args)
            case nodes.Getattr() | nodes.Getitem():
                self.expression(node.node, forced=True)
            case nodes.Call():
                self.expression(node.node, forced=True)
                self.passed(node.args)
            case nodes.And() | nodes.Or():
                self.expression(node.left, forced=True)  # the right side may not be looked at
            case nodes.CondExpr():
                self.expression(node.test, forced=True)
            case nodes.Compare():
                self.compare(node)
            case nodes.BinExpr():
                self.expression(node.left, forced=True)
                self.expression(node.right, forced=True)
            case nodes.UnaryExpr():
                self.expression(node.node, forced=True)
            case nodes.Concat():
                for part in node.nodes:
                    self.expression(part, forced=True)
            case nodes.List() | nodes.Tuple():
                self.passed(node.items)
            case _:
                pass

    def compare(self, node: nodes.Compare) -> None:
        first = node.ops[0]
        membership = first.op in ("in", "notin")  # an empty list contains nothing and asks nobody
        self.expression(node.expr, forced=not membership)
        self.expression(first.expr, forced=True)

    def passed(self, values: Iterable[nodes.Node]) -> None:
        for value in values:
            self.expression(value, forced=False)


def surely_needed(body: Iterable[nodes.Node], given: Set[str]) -> frozenset[str]:
    """Names that every rendering of `body` takes from the row; `given` ones are there anyway."""
    reading = _Needs(given)
    reading.body(body)
    return frozenset(reading.found)


def printed(body: Iterable[nodes.Node]) -> Counter[str] | None:
    """How often each name can be printed at most, in whole; None if that cannot be told (loops, calls, arithmetic)."""
    uses: Counter[str] = Counter()
    for node in body:
        if not _count(node, uses):
            return None
    return uses


def _count(node: nodes.Node, uses: Counter[str]) -> bool:
    match node:
        case nodes.TemplateData() | nodes.Const():
            return True
        case nodes.Name():
            uses[node.name] += 1
            return True
        case nodes.Filter() if node.name not in _OUTPUT_AS_LONG:
            return False
        case nodes.Getitem() | nodes.Getattr():
            return _count(node.node, uses)
        case nodes.Output() | nodes.If() | nodes.Filter() | nodes.CondExpr() | nodes.Concat():
            return all(_count(child, uses) for child in node.iter_child_nodes())
        case nodes.Test() | nodes.Compare() | nodes.Not():
            return True  # prints True or False
        case _:
            return False


def _assigned(node: nodes.If) -> set[str]:
    """Names that a branch may set; a macro, too."""
    names: set[str] = set()
    for assign in node.find_all(nodes.Assign):
        names |= _names(assign.target)
    for block in node.find_all(nodes.AssignBlock):
        names |= _names(block.target)
    return names | {macro.name for macro in node.find_all(nodes.Macro)}


def _names(target: nodes.Node) -> set[str]:
    if isinstance(target, nodes.Name):
        return {target.name}
    return {name.name for name in target.find_all(nodes.Name)}
