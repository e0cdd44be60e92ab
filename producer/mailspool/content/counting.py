"""A template's syntax tree, made to count: our filters around what may run often or grow. Pure.

Called by render.py before compiling. The filters themselves are bounded.py's.
"""

from __future__ import annotations

from typing import cast

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

ROUNDS, PRINTED, USED = "*rounds", "*printed", "*used"
"""Names of filters that nobody can write into a template: what a loop goes over, what is put into a text or a list,
what a filter works on."""
_CAPTURING = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock)
"""Their bodies run more than once, or make a text that is used more than once."""


class _Counting(NodeTransformer):
    def __init__(self) -> None:
        self._inside = 0

    def visit(self, node: nodes.Node, *_args: object, **_kwargs: object) -> nodes.Node:
        inside = isinstance(node, _CAPTURING)
        self._inside += inside
        self.generic_visit(node)
        self._inside -= inside
        match node:
            case nodes.For():
                node.iter = _around(node.iter, ROUNDS)
            case nodes.Operand() if self._inside and node.op in ("in", "notin"):
                node.expr = _around(node.expr, USED)
            case nodes.Filter() if self._inside and node.node is not None:
                node.node = _around(node.node, USED)
            case nodes.Concat():
                node.nodes = [_around(part, PRINTED) for part in node.nodes]
            case nodes.List() | nodes.Dict() if not _is_constant(node):
                return _around(node, PRINTED)
            case nodes.Tuple() if node.ctx == "load" and not _is_constant(node):
                return _around(node, PRINTED)
            case _:
                pass
        return node


def _is_constant(node: nodes.List | nodes.Dict | nodes.Tuple) -> bool:
    return all(isinstance(item, nodes.Const) for item in node.items)


def _around(node: nodes.Node, name: str) -> nodes.Expr:
    if isinstance(node, nodes.TemplateData | nodes.Const):
        return node
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def counted(tree: nodes.Template) -> nodes.Template:
    """The same template, with everything counted. Changes the tree."""
    return cast("nodes.Template", _Counting().visit(tree))
