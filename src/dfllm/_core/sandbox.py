"""Templates that can only make text of plain data: jinja2's immutable sandbox, with everything else taken out.

A template is parsed, rewritten (see `rewriting`) and compiled once. What is left of it can look up items of dicts,
lists and texts, apply our filters, and nothing else: there is no call in it, and it reads no attribute of any object.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from dfllm._core.cells import BlankCell
from dfllm._core.errors import TemplateError
from dfllm._core.filters import FILTERS, TESTS
from dfllm._core.limits import CHARACTERS, Meter, too_long
from dfllm._core.methods import INNER, OPERATORS
from dfllm._core.rewriting import Rewriter

#: the most words and signs between braces that a template may have
TOKENS = 10_000
#: pieces of output longer than this are counted one by one, shorter ones a thousand at a time
_PIECE = 1_000
_NUMBER = 10**15


class Row(Context):
    """The names of one row, refilled for the next."""

    def __init__(self, cells: dict[str, Any], meter: Meter) -> None:
        super().__init__(_ENVIRONMENT, cells, None, {})
        self.meter = meter
        self.count = meter.count

    def resolve_or_missing(self, key: str) -> Any:
        """Return the variable."""
        return self.parent.get(key, missing)


class _Generator(CodeGenerator):
    """Writes ``count(value)`` where jinja2 writes ``str(value)``, and counts long constants too."""

    def write_commons(self) -> None:
        super().write_commons()
        self.writeline("count = context.count")
        self.writeline("text, whole = str, int")

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> str:
        if isinstance(node, nodes.TemplateData) and len(node.data) <= _PIECE and frame.buffer is None:
            return node.data
        raise nodes.Impossible

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        # Short texts and numbers go past the function: a call for each would make long loops half as slow again.
        self.write("(piece if (kind := (piece := " if frame.buffer is None else "count(")

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        short = f").__class__) is text and len(piece) <= {_PIECE}"
        number = f"text(piece) if kind is whole and -{_NUMBER} < piece < {_NUMBER}"
        self.write(f"{short} else {number} else count(piece))" if frame.buffer is None else ")")


class _Counted(Extension):
    """Ends the parsing of a template that has too many tokens to compile in good time."""

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        for number, token in enumerate(stream):
            if number > TOKENS:
                raise TemplateSyntaxError(f"over {TOKENS:,} words and signs between braces", token.lineno)
            yield token


class _Environment(ImmutableSandboxedEnvironment):
    """jinja2 with nothing to reach: no globals, no loader, no attributes, no calls."""

    code_generator_class = _Generator
    intercepted_binops = frozenset(OPERATORS)

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=False, optimized=False, loader=None, extensions=[_Counted]
        )
        self.globals.clear()
        self.filters = {**FILTERS, **INNER}
        self.tests = dict(TESTS)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return False

    def is_safe_callable(self, obj: Any) -> bool:
        return False

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        return OPERATORS[operator](context.meter, left, right)  # type: ignore[attr-defined] # it is a Row

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return an item of a dict, or the name or list of a group."""
        if obj.__class__ is dict:
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        if obj.__class__ is BlankCell:
            return obj
        if isinstance(obj, Undefined):
            obj._fail_with_undefined_error()
        if isinstance(obj, tuple) and attribute in getattr(obj, "_fields", ()):
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an item of a dict, a list or a text."""
        if obj.__class__ is dict and argument.__class__ is str:
            try:
                return obj[argument]
            except KeyError:
                return self.undefined("'dict' object has no element of that name")
        if obj.__class__ is BlankCell:
            return obj
        if isinstance(argument, Undefined):
            argument._fail_with_undefined_error()
        if isinstance(obj, dict | list | tuple | str | range | Undefined) and not isinstance(argument, tuple):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                pass
        # The argument may come from a cell, and no message shows what is in a cell.
        shown = argument if isinstance(argument, int) else "of that name"
        return self.undefined(f"{type(obj).__name__!r} object has no element {shown}", name=None)


class Compiled(NamedTuple):
    """A template that is ready to be rendered.

    Attributes:
        root: makes the text of a row, in pieces.
        columns: the template's variables and the labels of the columns they hold.
        loops: whether the number of pieces depends on the row.
        slots: the literals and, as one-tuples, the variables of a template that has nothing else in it; else None.
        opening: the text that every row begins with.
        fixed_bytes: how much text is the same in every row, wherever it stands.
    """

    root: Callable[[Context], Iterator[str]]
    columns: Mapping[str, Hashable]
    loops: bool
    slots: Sequence[str | tuple[str]] | None = None
    opening: str = ""
    fixed_bytes: int = 0


def compiled(source: str) -> Compiled:
    """Return the template, ready to be rendered.

    Raises:
        TemplateError: it cannot be read, or has in it what no prompt may have. The message starts with the line.
    """
    rewriter = Rewriter()
    if len(source) > CHARACTERS:
        raise TemplateError(f"line 1: {too_long()}")
    try:
        tree = _ENVIRONMENT.parse(source)
        tree.body = rewriter.body(tree.body, set())
        loops = tree.find(nodes.For) is not None
        slots = _slots(tree.body)
        opening, fixed_bytes = _fixed(tree.body)
        root = _ENVIRONMENT.from_string(tree).root_render_func
    except TemplateSyntaxError as error:
        raise TemplateError(f"line {error.lineno}: {error.message}") from error
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise TemplateError("line 1: nested too deeply") from error
    except ValueError as error:
        raise TemplateError(f"line 1: {error}") from error
    return Compiled(root, rewriter.columns, loops, slots, opening, fixed_bytes)


def _slots(body: list[nodes.Node]) -> Sequence[str | tuple[str]] | None:
    if not all(isinstance(part, nodes.Output) for part in body):
        return None
    pieces = [piece for part in body for piece in part.nodes]  # type: ignore[attr-defined] # all are Output
    if not all(isinstance(piece, nodes.TemplateData | nodes.Name) for piece in pieces):
        return None
    return [piece.data if isinstance(piece, nodes.TemplateData) else (piece.name,) for piece in pieces]


def _fixed(body: list[nodes.Node]) -> tuple[str, int]:
    """Return the text before anything that may differ from row to row, and the size of all text beside such things."""
    opening: list[str] = []
    size, opens = 0, True
    for part in body:
        if isinstance(part, nodes.Assign | nodes.AssignBlock):
            continue  # prints nothing
        for piece in part.nodes if isinstance(part, nodes.Output) else [part]:
            if not isinstance(piece, nodes.TemplateData):
                opens = False
                continue
            size += len(piece.data.encode("utf-8", "surrogatepass"))
            if opens:
                opening.append(piece.data)
    return "".join(opening), size


_ENVIRONMENT = _Environment()
