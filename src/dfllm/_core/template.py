"""Recipes to messages: the templates of a call, compiled once and rendered row by row within limits.

A row that cannot be rendered is a Failure, never an exception; a template that cannot be used raises before any row.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, get_args

from dfllm._core.cells import BlankCell, MissingCell, Plain, Skip
from dfllm._core.errors import OptionError, TemplateError, near
from dfllm._core.limits import CHARACTERS, Meter, fits
from dfllm._core.sandbox import Compiled, Row, compiled
from dfllm._core.types import Failure, Message, Messages, Missing, Recipe, Role

Render: TypeAlias = Callable[[Sequence[Plain]], Messages | Failure]

#: pieces of output that are put together before their size is looked at
_PIECES = 8_000
#: texts and numbers that need no counting, however many a template prints
_SHORT = 8_000
_SMALL = 10**15
_KEYS = ("role", "content")
_ROLES: tuple[str, ...] = get_args(Role)


class _Part(NamedTuple):
    """One message of a prompt.

    Attributes:
        role: who speaks.
        template: what makes its content.
        constant: the message itself, where no column is in it.
    """

    role: str
    template: Compiled
    constant: Message | None


class Prompt:
    """The templates of a recipe, compiled. It never changes and may be shared by threads; its renderers may not.

    Attributes:
        columns: the labels of the columns the templates read, sorted: names as they stand, others as in
            ``row["label"]``.
        prefix: what the messages of every row begin with: whole ones, then as much of the next as stands before
            anything of its row.
        fixed_bytes: how much text is the same in every row, wherever it stands.
        last_asked: the place of the last message of the user, which is the one that images go with.
        turns: how many messages a row's conversation has.

    Raises:
        TemplateError: a template cannot be read, or has in it what no prompt may have.
    """

    __slots__ = (
        "_parts",
        "_places",
        "_vacant",
        "_variables",
        "columns",
        "fixed_bytes",
        "last_asked",
        "prefix",
        "turns",
    )

    def __init__(self, recipe: Recipe) -> None:
        parts = [
            _part(template.role, template.content, _called(number, template.role, len(recipe.messages)))
            for number, template in enumerate(recipe.messages, 1)
        ]
        labels = {variable: label for part in parts for variable, label in part.template.columns.items()}
        self.columns: tuple[Hashable, ...] = tuple(sorted(set(labels.values()), key=_order))
        # More variables than columns where one is read by its name and as row["name"] too.
        places = sorted((self.columns.index(label), variable) for variable, label in labels.items())
        self._places = tuple(place for place, _ in places)
        self._variables = tuple(variable for _, variable in places)
        blank = recipe.missing == "render"
        self._vacant = tuple(BlankCell() if blank else MissingCell(label) for label in self.columns)
        self._parts = parts
        self.prefix = _prefix(parts)
        self.last_asked = max((place for place, part in enumerate(parts) if part.role == "user"), default=len(parts))
        self.fixed_bytes = sum(
            part.template.fixed_bytes
            if part.constant is None
            else len(part.constant.content.encode("utf-8", "surrogatepass"))
            for part in parts
        )
        self.turns = len(parts)

    def renderer(self, clock: Callable[[], float] = time.thread_time) -> Render:
        """Return a function from one row's values to its messages. It is for one thread at a time.

        The values stand in the order of `columns`, None where one is missing. They must be plain data, as
        `dfllm._core.cells.plain` makes it.

        Args:
            clock: what the limit of one second is measured with, by default the time of the thread itself. It is read
                only by rows that take long.
        """
        meter = Meter(clock)
        cells: dict[str, Any] = {}
        row = Row(cells, meter)
        variables, places, vacant, parts = self._variables, self._places, self._vacant, self._parts
        count = len(self.columns)
        straight = len(places) == count
        draws = [(part.constant, part.role, _drawer(part.template), part.template.root) for part in parts]

        def render(values: Sequence[Plain]) -> Messages | Failure:
            if len(values) != count:
                raise ValueError(f"{len(values)} values for {count} columns")
            given: Sequence[Any] = values
            if None in values:
                given = [gap if value is None else value for value, gap in zip(values, vacant, strict=False)]
            if not straight:
                given = [given[place] for place in places]
            cells.update(zip(variables, given, strict=False))
            if row.vars:
                row.vars.clear()
                row.exported_vars.clear()
            meter.start()
            try:
                return tuple([fixed or Message(role, draw(root(row))) for fixed, role, draw, root in draws])
            except Skip as skip:
                return Failure("Skipped", str(skip))
            except Exception as error:  # noqa: BLE001 - whatever a template does wrong is the row's own failure
                return Failure("TemplateError", _reason(error))

        return _quick(parts, dict(zip(variables, places, strict=True)), count, render) or render


def _quick(parts: Sequence[_Part], places: Mapping[str, int], count: int, render: Render) -> Render | None:
    """Return a renderer for prompts of nothing but text and columns, which most are; None for others.

    It takes rows of short texts and numbers without a gap, and leaves any other row to `render`. The result is the
    same; a re-run of known rows is a tenth faster for it.
    """
    if any(part.constant is None and part.template.slots is None for part in parts):
        return None
    if (
        sum(len(one) if isinstance(one, str) else _SHORT for part in parts for one in part.template.slots or ())
        > CHARACTERS
    ):
        return None
    plans = [
        (
            part.constant,
            part.role,
            [piece if isinstance(piece, str) else "" for piece in part.template.slots or ()],
            [(at, places[one[0]]) for at, one in enumerate(part.template.slots or ()) if not isinstance(one, str)],
        )
        for part in parts
    ]

    def quick(values: Sequence[Plain]) -> Messages | Failure:
        if len(values) != count:
            return render(values)
        made = []
        for fixed, role, literals, slots in plans:
            if fixed is not None:
                made.append(fixed)
                continue
            pieces = literals.copy()
            for at, place in slots:
                value = values[place]
                if type(value) is str and len(value) <= _SHORT:
                    pieces[at] = value
                elif (type(value) is int and -_SMALL < value < _SMALL) or type(value) is float:
                    pieces[at] = str(value)
                else:
                    return render(values)
            made.append(Message(role, "".join(pieces)))
        return tuple(made)

    return quick


def _part(role: str, source: str, called: str) -> _Part:
    try:
        template = compiled(source)
    except TemplateError as error:
        raise TemplateError(f"{called}, {error}") from error
    if template.columns:
        return _Part(role, template, None)
    try:
        return _Part(role, template, Message(role, _drawer(template)(template.root(Row({}, Meter())))))
    except Exception as error:
        raise TemplateError(f"{called} cannot be rendered: {_reason(error)}") from error


def _prefix(parts: Sequence[_Part]) -> Messages:
    shared: list[Message] = []
    for part in parts:
        if part.constant is None:
            return (*shared, *([Message(part.role, opening)] if (opening := part.template.opening) else ()))
        shared.append(part.constant)
    return tuple(shared)


def _called(number: int, role: str, count: int) -> str:
    return "The template" if count == 1 else f"The template of message {number} ({role})"


def _order(label: Hashable) -> tuple[str, str]:
    return str(label), type(label).__name__


def _drawer(template: Compiled) -> Callable[[Iterator[str]], str]:
    return _in_lots if template.loops else _at_once


def _at_once(pieces: Iterator[str]) -> str:
    text = "".join(pieces)
    fits(len(text))
    return text


def _in_lots(pieces: Iterator[str]) -> str:
    lots = ["".join(islice(pieces, _PIECES))]
    size = len(lots[0])
    fits(size)
    for piece in pieces:
        lots.append(piece + "".join(islice(pieces, _PIECES)))
        size += len(lots[-1])
        fits(size)
    return "".join(lots)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):  # its text is the key, which may come from a cell
        return "no such key"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, OverflowError):
        return "number too large"
    return " ".join(str(error).split())[:200] or type(error).__name__


def check_columns(needed: Sequence[Hashable], available: Sequence[Hashable], *, of: str = "The template") -> None:
    """Check that the frame has each column that a prompt reads, and has it once.

    Args:
        needed: the columns.
        available: the frame's.
        of: what reads them.

    Raises:
        TemplateError: it has not; the message names the column, and the nearest there is.
    """
    counts = Counter(available)
    for label in needed:
        if not counts[label]:
            if not isinstance(label, str) or label in map(str, available):
                raise TemplateError(_no_label(label, available))
            raise TemplateError.no_column(label, list(map(str, available)), of=of)
        if counts[label] > 1:
            raise TemplateError(f"{of} asks for {label!r}; the frame has {counts[label]} columns of that name.")


def _no_label(label: Hashable, available: Sequence[Hashable]) -> str:
    alike = [f"row[{other!r}]" for other in available if str(other) == str(label)]
    return str(TemplateError.no_column(f"row[{label!r}]", [repr(other) for other in available])) + (
        f" Did you mean {alike[0]}?" if alike else ""
    )


def recipe_of(
    prompt: str | Sequence[Mapping[str, str]] | None,
    system: str | None = None,
    missing: Missing = "skip",
    *,
    talks: bool = False,
) -> Recipe:
    """Return the recipe of a prompt.

    Args:
        prompt: the template of one user message, or a list of ``{"role": ..., "content": ...}`` with a template each;
            None where the rows' own conversations are all that is asked.
        system: the template of a system message that goes first.
        missing: what becomes of a row whose template prints a missing cell.
        talks: whether rows bring conversations of their own, which the prompt then goes on with.

    Raises:
        OptionError: the prompt is neither, or a message is not as it should be.
    """
    if missing not in get_args(Missing):
        raise OptionError(f"missing takes {', '.join(map(repr, get_args(Missing)))}; found {missing!r}.")
    if prompt is None and not talks:
        raise OptionError("Nothing is asked. Say prompt=, or messages= for rows that bring their own conversation.")
    messages: list[Message] = []
    if isinstance(prompt, str):
        messages = [Message("user", _content(prompt, "prompt"))]
    elif isinstance(prompt, list | tuple):
        messages = [_message(message, f"message {number} of prompt") for number, message in enumerate(prompt, 1)]
    elif prompt is not None:
        raise OptionError(f"prompt takes text or a list of messages; found {type(prompt).__name__}.")
    if prompt is not None and not any(message.role in ("user", "assistant") for message in messages):
        raise OptionError("prompt needs a message of the role 'user'; a conversation cannot be of instructions alone.")
    if system is not None:
        if any(message.role == "system" for message in messages):
            raise OptionError("The list of messages has a system message already; give that or system=, not both.")
        messages.insert(0, Message("system", _content(system, "system")))
    return Recipe(tuple(messages), missing)


def _message(message: object, called: str) -> Message:
    if not isinstance(message, Mapping):
        raise OptionError(f"{called} is no dict with role and content; found {type(message).__name__}.")
    for key in message:
        if key not in _KEYS:
            raise OptionError(f"{called} has a key {key!r}; it takes role and content.{near(str(key), _KEYS)}")
    role = message.get("role")
    if role not in _ROLES:
        raise OptionError(f"{called} has the role {role!r}; roles are {', '.join(_ROLES)}.{near(str(role), _ROLES)}")
    return Message(role, _content(message.get("content"), f"content of {called}"))


def _content(text: object, called: str) -> str:
    if not isinstance(text, str):
        raise OptionError(f"{called} takes text; found {type(text).__name__}.")
    if not text.strip():
        raise OptionError(f"{called} is empty.")
    return text
