"""The options of a call: their types for those who read and check code, and what each may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, TypeAlias, TypedDict

from dfllm._core.budget import Budget
from dfllm._core.errors import OptionError
from dfllm._core.tools import Given as GivenTool
from dfllm._core.types import Missing
from dfllm._run.desk import Cache
from dfllm._run.sampling import Alike, Sampling, Varied
from dfllm._run.settings import Limits

OnError: TypeAlias = Literal["keep", "raise", "stop"]
Repeats: TypeAlias = Literal["share", "vary"]
#: One model, or several: a list, or a mapping from aliases.
Models: TypeAlias = str | Sequence[str] | Mapping[str, str]

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "missing": ("skip", "render", "raise"),
    "cache": ("use", "retry", "only", "off", "refresh"),
    "on_error": ("keep", "raise", "stop"),
    "repeats": ("share", "vary"),
}
_KINDS: Sequence[tuple[str, tuple[type, ...], str]] = (
    ("details", (bool,), "True or False"),
    ("overwrite", (bool, type(None)), "True, False or None"),
    ("tag", (str, type(None)), "text"),
)
_NOT_GIVEN = object()
#: A row has at most so many samples: they are together in one cell.
MOST_SAMPLES = 128


class Common(TypedDict, total=False):
    """What calls for answers and for vectors have in common."""

    into: str
    extra: Mapping[str, Any] | None
    cache: Cache
    missing: Missing
    on_error: OnError
    overwrite: bool | None
    budget: float | Budget | None
    limits: Limits | None
    timeout: float | None
    tag: str | None
    details: bool
    progress: bool | None


class Options(Common, total=False):
    """The options of a call, as `DataFrameLLM.complete` documents them."""

    model: Models | None
    system: str | None
    schema: Any
    messages: str | None
    images: str | Sequence[str] | None
    files: str | Sequence[str] | None
    tools: Sequence[GivenTool] | None
    tool_choice: str | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    seed: int | None
    reasoning: str | None
    samples: int
    repeats: Repeats
    fallback: str | Sequence[str]


def check_choices(options: Options) -> None:
    """Refuse what no option may be.

    Raises:
        OptionError: a value is none of those it may be.
    """
    for name, choices in _CHOICES.items():
        value = options.get(name, choices[0])
        if value not in choices:
            raise OptionError(f"{name}={value!r} does not fit; it takes {', '.join(map(repr, choices))}.")
    for name, kinds, wanted in _KINDS:
        given = options.get(name, _NOT_GIVEN)
        if given is not _NOT_GIVEN and not isinstance(given, kinds):
            raise OptionError(f"{name}={given!r} does not fit; it takes {wanted}.")


def sampling_of(options: Options) -> Sampling | None:
    """Return what numbers the samples of rows; None where each row is asked once and equal rows share.

    Raises:
        OptionError: `samples` is no such count.
    """
    samples: Any = options.get("samples", 1)
    if isinstance(samples, bool) or not isinstance(samples, Integral) or not 1 <= int(samples) <= MOST_SAMPLES:
        raise OptionError(f"samples={samples!r} does not fit; it takes a whole number from 1 to {MOST_SAMPLES}.")
    samples = int(samples)  # numpy has whole numbers of its own
    if options.get("repeats", "share") == "vary":
        return Varied(samples)
    return Alike(samples) if samples > 1 else None
