"""A template's syntax tree, made to count: our filters around what may run often or grow. Pure.

Called by render.py before compiling. The filters themselves are bounded.py's. A body that runs often says what one run
of it costs, by the number and kind of its nodes: a loop spends that for each round, a macro for each call. What
compares or looks up is counted in such bodies only; a template with very many comparisons is such a body as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from jinja2 import TemplateSyntaxError, nodes
from jinja2.visitor import NodeTransformer

ROUNDS, ENTERED, PRINTED, COPIED, USED, CONTAINED = "*rounds", "*entered", "*printed", "*copied", "*used", "*contained"
"""Names of filters that nobody can write into a template: what a loop goes over, a macro that runs, what is put into a
text or a list, a slice, what is compared or looked up, `in`."""
_CAPTURING = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock)
"""Their bodies run more than once, or make a text that is used more than once."""
_MANY = 20
"""Comparisons and look-ups outside loops: each of two lists of megabytes takes 20 ms."""
_LONGEST_INTEGER_BITS = 1_000
_PRICES: dict[type[nodes.Node], int] = {
    nodes.Filter: 40,
    nodes.Call: 80,
    nodes.CallBlock: 60,
    nodes.FilterBlock: 60,
    nodes.AssignBlock: 60,
    nodes.Macro: 40,
    nodes.For: 40,
    nodes.With: 20,
    nodes.Concat: 30,
    nodes.Getattr: 60,
    nodes.Getitem: 20,
    nodes.Test: 20,
    nodes.NSRef: 30,
    nodes.List: 20,
    nodes.Dict: 20,
    nodes.Tuple: 10,
    nodes.Compare: 5,
    nodes.If: 2,
}
"""Steps of 25 ns; a short text that is made costs its bytes, too."""
_A_NODE = 2
_A_PRINTED_PART = 25
_AN_OPERATION = 20
_OF_LOOP = 60
"""`loop.index` and its like are worked out when asked for."""
_TEXT_A_STEP = 16


def price(body: Iterable[nodes.Node]) -> int:
    """Steps of one run. Inner loops count themselves."""
    total = 0
    stack = list(body)
    while stack:
        node = stack.pop()
        total += _AN_OPERATION if isinstance(node, nodes.BinExpr) else _PRICES.get(type(node), _A_NODE)
        if isinstance(node, nodes.For):
            stack += [node.iter, *node.else_]
        elif isinstance(node, nodes.Macro):
            stack += node.defaults
        else:
            if isinstance(node, nodes.Output):
                total += _A_PRINTED_PART * len(node.nodes)
            elif isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name) and node.node.name == "loop":
                total += _OF_LOOP
            elif isinstance(node, nodes.TemplateData):
                total += len(node.data) // _TEXT_A_STEP
            elif isinstance(node, nodes.Const) and isinstance(node.value, str):
                total += len(node.value) // _TEXT_A_STEP
            stack += node.iter_child_nodes()
    return total


class _Counting(NodeTransformer):
    def __init__(self, *, everywhere: bool) -> None:
        self._inside = int(everywhere)

    def visit(self, node: nodes.Node, *_args: object, **_kwargs: object) -> nodes.Node:
        inside = isinstance(node, _CAPTURING)
        cost = _cost(node) if inside else 0
        self._inside += inside
        self.generic_visit(node)
        self._inside -= inside
        match node:
            case nodes.For():
                node.iter = nodes.Filter(node.iter, ROUNDS, [nodes.Const(cost)], [], None, None, lineno=node.lineno)
                if node.recursive:
                    node.body.insert(0, _entered(node, cost))
            case nodes.Macro() | nodes.CallBlock():
                node.body.insert(0, _entered(node, cost))
            case nodes.Concat():
                node.nodes = [_around(part, PRINTED) for part in node.nodes]
            case nodes.Getitem() if isinstance(node.arg, nodes.Slice):
                return _around(node, COPIED)
            case nodes.List() | nodes.Dict() if not _is_constant(node):
                return _around(node, PRINTED)
            case nodes.Tuple() if node.ctx == "load" and not _is_constant(node):
                return _around(node, PRINTED)
            case nodes.Const():
                _refuse_long(node)
            case _ if self._inside:
                return _often(node)
        return node


def _often(node: nodes.Node) -> nodes.Node:
    match node:
        case nodes.Compare():
            return _compared(node)
        case nodes.Getitem():
            node.arg = _around(node.arg, USED)
        case _:
            pass
    return node


def _compared(node: nodes.Compare) -> nodes.Expr:
    """What is compared with a constant ends soon; of two others, that of which there is less decides."""
    if len(node.ops) > 1:
        if any(operand.op in ("in", "notin") for operand in node.ops):
            raise TemplateSyntaxError('"in" stands in a row of comparisons: put brackets around it', node.lineno)
        node.expr = _around(node.expr, USED)
        for operand in node.ops:
            operand.expr = _around(operand.expr, USED)
        return node
    operand = node.ops[0]
    if operand.op in ("in", "notin"):
        found = nodes.Filter(node.expr, CONTAINED, [operand.expr], [], None, None, lineno=node.lineno)
        return found if operand.op == "in" else nodes.Not(found, lineno=node.lineno)
    if not _is_constant(operand.expr) and not _is_constant(node.expr):
        node.expr = _around(node.expr, USED)
    return node


def _cost(node: nodes.Node) -> int:
    if isinstance(node, nodes.For):
        return price([*node.body, *([node.test] if node.test is not None else [])])
    return price(cast("nodes.Macro", node).body)


def _entered(node: nodes.Node, cost: int) -> nodes.ExprStmt:
    lineno = node.lineno
    return nodes.ExprStmt(nodes.Filter(nodes.Const(cost), ENTERED, [], [], None, None, lineno=lineno), lineno=lineno)


def _is_constant(node: nodes.Node) -> bool:
    if isinstance(node, nodes.List | nodes.Dict | nodes.Tuple):
        return all(isinstance(item, nodes.Const) for item in node.items)
    return isinstance(node, nodes.Const)


def _refuse_long(node: nodes.Const) -> None:
    if isinstance(node.value, int) and node.value.bit_length() > _LONGEST_INTEGER_BITS:
        raise TemplateSyntaxError("a number has too many digits", node.lineno)


def _around(node: nodes.Node, name: str) -> nodes.Expr:
    if isinstance(node, nodes.TemplateData | nodes.Const):
        return node
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def counted(tree: nodes.Template) -> nodes.Template:
    """The same template, with everything counted. Changes the tree."""
    comparing = sum(1 for _ in tree.find_all((nodes.Compare, nodes.Getitem)))
    return cast("nodes.Template", _Counting(everywhere=comparing > _MANY).visit(tree))
