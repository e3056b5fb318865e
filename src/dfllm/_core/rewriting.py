"""The rewriting of a parsed template: what may stay, which columns it reads, and where the limits go in.

Only known nodes pass: names, literals, operators, whitelisted filters and tests, ``if``, ``for``, ``set``, ``with`` and
``filter``. Loops are made to count their steps in advance, what is made of values is measured, and methods become
filters of ours, so that no call is left. See `methods.INNER` for what is put in.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NoReturn

from jinja2 import TemplateAssertionError, nodes
from jinja2.visitor import NodeTransformer

from dfllm._core.cells import BIG
from dfllm._core.errors import near
from dfllm._core.filters import FILTERS, TESTS
from dfllm._core.methods import LOOP, METHODS

_KNOWN = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Const, nodes.Tuple, nodes.List, nodes.Dict, nodes.Pair,
    nodes.Keyword, nodes.CondExpr, nodes.Operand, nodes.Compare, nodes.Slice,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow,
    nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos,
)  # fmt: skip
#: filters that take the name of a filter or test, and where
_NAMED: Mapping[str, tuple[str, int, Mapping[str, Any]]] = {
    "map": ("filter", 0, FILTERS),
    "select": ("test", 0, TESTS),
    "reject": ("test", 0, TESTS),
    "selectattr": ("test", 1, TESTS),
    "rejectattr": ("test", 1, TESTS),
}
#: nodes that cost a loop a function call each time
_COSTLY = (nodes.Filter, nodes.Test, nodes.Call, nodes.Concat, nodes.BinExpr, nodes.Compare, nodes.Getitem)


class Rewriter(NodeTransformer):
    """Goes through one template: refuses what it does not know, finds the columns, puts the limits in.

    Every visit is handed the names that the template itself has bound at that point; any other name is a column.
    """

    def __init__(self) -> None:
        self.columns: dict[str, Hashable] = {}

    def get_visitor(self, node: nodes.Node) -> Callable[..., Any] | None:
        return getattr(self, f"on_{type(node).__name__.lower()}", None)

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if not isinstance(node, _KNOWN):
            _refuse(node, f"{_tag(node)} cannot be used in a prompt")
        return super().generic_visit(node, *args, **kwargs)

    def body(self, statements: list[nodes.Node], bound: set[str]) -> list[nodes.Node]:
        """Rewrite statements that share one scope, in order."""
        return [self.visit(statement, bound) for statement in statements]

    def bind(self, target: nodes.Node, bound: set[str]) -> None:
        """Add the names of an assignment."""
        for name in [target, *target.find_all(nodes.Expr)]:
            if isinstance(name, nodes.NSRef):
                _refuse(target, "attributes cannot be set")
            if not isinstance(name, nodes.Name):
                continue
            if name.name in ("loop", "self"):
                _refuse(target, f"{name.name!r} cannot be set")
            _same_in_python(name)
            bound.add(name.name)

    def on_name(self, node: nodes.Name, bound: set[str]) -> nodes.Node:
        name = node.name
        if name in bound and name != "loop":
            return node
        if name in bound:
            _refuse(node, "loop can only be asked for its attributes, such as loop.index")
        if name == "row":
            _refuse(node, 'row is not a value; write row["label"] with the label as a constant')
        if name == "self" or name.startswith("_"):
            _refuse(node, f'a column of that name is written row["{name}"]')
        _same_in_python(node)
        self.columns[name] = name
        return node

    def on_const(self, node: nodes.Const, bound: set[str]) -> nodes.Node:
        if isinstance(node.value, int) and not -BIG < node.value < BIG:
            _refuse(node, "a number of over 4300 digits")
        return node

    def on_output(self, node: nodes.Output, bound: set[str]) -> nodes.Node:
        merged: list[nodes.Expr] = []
        for child in node.nodes:
            if merged and isinstance(child, nodes.TemplateData) and isinstance(merged[-1], nodes.TemplateData):
                merged[-1] = nodes.TemplateData(merged[-1].data + child.data, lineno=merged[-1].lineno)
            else:
                merged.append(child)
        node.nodes = [self.visit(child, bound) for child in merged]
        return node

    def on_if(self, node: nodes.If, bound: set[str]) -> nodes.Node:
        node.test = self.visit(node.test, bound)
        branches = [set(bound), set(bound)]
        node.body = self.body(node.body, branches[0])
        for other in node.elif_:
            branches.append(set(bound))
            self.visit(other, branches[-1])
        node.else_ = self.body(node.else_, branches[1])
        bound.update(*branches)
        return node

    def on_for(self, node: nodes.For, bound: set[str]) -> nodes.Node:
        if node.recursive:
            _refuse(node, "recursive loops cannot be used in a prompt")
        units = 4 * sum(12 if isinstance(part, _COSTLY) else 1 for part in node.find_all(nodes.Node))
        inner = set(bound)
        self.bind(node.target, inner)
        node.iter = _inner("for ", self.visit(node.iter, bound), [nodes.Const(units)])
        if node.test is not None:
            node.test = self.visit(node.test, inner)
        node.body = self.body(node.body, {*inner, "loop"})
        node.else_ = self.body(node.else_, set(bound))
        return node

    def on_with(self, node: nodes.With, bound: set[str]) -> nodes.Node:
        node.values = [self.visit(value, bound) for value in node.values]
        inner = set(bound)
        for target in node.targets:
            self.bind(target, inner)
        node.body = self.body(node.body, inner)
        return node

    def on_assign(self, node: nodes.Assign, bound: set[str]) -> nodes.Node:
        node.node = self.visit(node.node, bound)
        self.bind(node.target, bound)
        return node

    def on_assignblock(self, node: nodes.AssignBlock, bound: set[str]) -> nodes.Node:
        node.body = self.body(node.body, set(bound))
        if node.filter is not None:
            if node.filter.find(nodes.Name) is not None:  # jinja2 itself cannot compile this
                _refuse(node, "the filter of a set block cannot read names; apply it to the text afterwards")
            node.filter = self.visit(node.filter, bound)
        self.bind(node.target, bound)
        return node

    def on_filterblock(self, node: nodes.FilterBlock, bound: set[str]) -> nodes.Node:
        node.filter = self.visit(node.filter, bound)
        node.body = self.body(node.body, set(bound))
        return node

    def on_getitem(self, node: nodes.Getitem, bound: set[str]) -> nodes.Node:
        if isinstance(node.node, nodes.Name) and node.node.name == "row" and "row" not in bound:
            return self.labelled(node)
        node.node = self.visit(node.node, bound)
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            return nodes.Getattr(node.node, node.arg.value, "load", lineno=node.lineno)
        if isinstance(node.arg, nodes.Slice):
            node.node = _inner("hold ", node.node)
        node.arg = self.visit(node.arg, bound)
        return node

    def labelled(self, node: nodes.Getitem) -> nodes.Node:
        """Rewrite row["label"] to a variable that no template can name."""
        try:
            label = node.arg.as_const() if _constant(node.arg) else None
            hash(label)
        except (nodes.Impossible, TypeError):
            label = None
        if label is None:
            _refuse(node, 'write row["label"] with the label as a constant')
        variable = f"0x{repr(label).encode().hex()}"
        self.columns[variable] = label
        return nodes.Name(variable, "load", lineno=node.lineno)

    def on_getattr(self, node: nodes.Getattr, bound: set[str]) -> nodes.Node:
        if node.attr.startswith("_"):
            _refuse(node, f'{node.attr!r} is private; an item of that name is written ["{node.attr}"]')
        if _is_loop(node.node, bound):
            if node.attr not in LOOP:
                _refuse(node, f"loop has no {node.attr!r}.{near(node.attr, LOOP)}")
            return _inner(f"loop.{node.attr}", node.node)
        node.node = self.visit(node.node, bound)
        return node

    def on_call(self, node: nodes.Call, bound: set[str]) -> nodes.Node:
        called = node.node
        _no_stars(node)
        args = [self.visit(arg, bound) for arg in node.args]
        options = [self.visit(option, bound) for option in node.kwargs]
        if isinstance(called, nodes.Name) and called.name == "range" and "range" not in bound and args and not options:
            return _inner("range()", args[0], args[1:])
        if not isinstance(called, nodes.Getattr):
            name = repr(called.name) if isinstance(called, nodes.Name) else "that"
            _refuse(node, f"{name} cannot be called; templates call range() and methods, and apply filters")
        if called.attr not in METHODS:
            _refuse(node, f"no method {called.attr!r} can be called.{near(called.attr, METHODS)}")
        value = called.node if _is_loop(called.node, bound) else self.visit(called.node, bound)
        return _inner(f".{called.attr}", value, args, options)

    def on_filter(self, node: nodes.Filter, bound: set[str]) -> nodes.Node:
        _known_name(node, "filter", node.name, FILTERS)
        _no_stars(node)
        kind, place, known = _NAMED.get(node.name, ("", len(node.args), {}))
        if len(node.args) > place and isinstance(named := node.args[place], nodes.Const):
            _known_name(node, kind, named.value, known)
        return super().generic_visit(node, bound)

    def on_test(self, node: nodes.Test, bound: set[str]) -> nodes.Node:
        _known_name(node, "test", node.name, TESTS)
        _no_stars(node)
        return super().generic_visit(node, bound)

    def on_concat(self, node: nodes.Concat, bound: set[str]) -> nodes.Node:
        first, *others = (self.visit(part, bound) for part in node.nodes)
        return _inner("~", first, others)

    def on_compare(self, node: nodes.Compare, bound: set[str]) -> nodes.Node:
        super().generic_visit(node, bound)
        first, *others = node.ops
        if not others and first.op in ("in", "notin"):
            if isinstance(first.expr, nodes.List | nodes.Tuple) and _constant(first.expr):
                return node
            test = nodes.Test(node.expr, "in", [first.expr], [], None, None, lineno=node.lineno)
            return test if first.op == "in" else nodes.Not(test, lineno=node.lineno)
        if not others and (_constant(node.expr) or _constant(first.expr)):
            return node
        node.expr = _inner("hold ", node.expr)
        for operand in node.ops:
            operand.expr = _inner("hold ", operand.expr)
        return node

    def on_list(self, node: nodes.List, bound: set[str]) -> nodes.Node:
        return self.literal(node, bound)

    def on_tuple(self, node: nodes.Tuple, bound: set[str]) -> nodes.Node:
        return self.literal(node, bound)

    def on_dict(self, node: nodes.Dict, bound: set[str]) -> nodes.Node:
        return self.literal(node, bound)

    def literal(self, node: nodes.Expr, bound: set[str]) -> nodes.Node:
        """Measure what is made of values; constants are as long as the template says."""
        constant = _constant(node)
        super().generic_visit(node, bound)
        return node if constant else _inner("hold ", node)


def _inner(name: str, value: nodes.Node, args: Sequence[Any] = (), options: Sequence[Any] = ()) -> nodes.Filter:
    return nodes.Filter(value, name, list(args), list(options), None, None, lineno=value.lineno)


def _constant(node: nodes.Node | None) -> bool:
    if isinstance(node, nodes.List | nodes.Tuple):
        return all(map(_constant, node.items))
    if isinstance(node, nodes.Dict):
        return all(_constant(pair.key) and _constant(pair.value) for pair in node.items)
    return isinstance(node, nodes.Const) or (isinstance(node, nodes.Neg) and isinstance(node.node, nodes.Const))


def _is_loop(node: nodes.Node, bound: set[str]) -> bool:
    return isinstance(node, nodes.Name) and node.name == "loop" and "loop" in bound


def _refuse(node: nodes.Node, reason: str) -> NoReturn:
    # Some nodes of jinja2's own making have no line, but what is in them has.
    lines = (getattr(part, "lineno", None) for part in (node, *node.find_all(nodes.Node)))
    raise TemplateAssertionError(reason, next(filter(None, lines), 1))


def _same_in_python(name: nodes.Name) -> None:
    # Python takes such a name for another one, and two columns would become the same.
    if unicodedata.normalize("NFKC", name.name) != name.name:
        _refuse(name, f'a column of that name is written row["{name.name}"]')


def _known_name(node: nodes.Node, kind: str, name: Any, known: Mapping[str, Any]) -> None:
    if name not in known:
        _refuse(node, f"no {kind} {name!r} can be used.{near(str(name), list(known))}")


def _no_stars(node: nodes.Call | nodes.Filter | nodes.Test) -> None:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        _refuse(node, "arguments with * or ** cannot be used in a prompt")


def _tag(node: nodes.Node) -> str:
    tags = {"CallBlock": "call", "FromImport": "from", "Scope": "autoescape", "NSRef": "namespace"}
    name = type(node).__name__
    return f"{{% {tags.get(name, name.lower())} %}}"
