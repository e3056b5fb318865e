"""The accessor: `df.llm` and `s.llm`, and `dfllm.llm(df)` for those who want types."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Unpack, overload

import pandas as pd

from dfllm._core.budget import Budget
from dfllm._core.errors import AccessorWarning, OptionError
from dfllm._core.plan import Plan
from dfllm._core.tasks import Task
from dfllm._core.tools import Given as GivenTool
from dfllm._core.types import Missing
from dfllm._doors import doors_of, spelled_out
from dfllm._embeds import FrameEmbeds, SeriesEmbeds
from dfllm._options import Models, OnError, Options, Repeats
from dfllm._run.desk import Cache
from dfllm._run.files import Given
from dfllm._run.settings import Limits
from dfllm._series_verbs import SeriesVerbs
from dfllm._several import call_of
from dfllm._stream import Completion, astream, stream
from dfllm._verbs import Verbs, spell_out
from dfllm.report import remember


class DataFrameLLM(Verbs, FrameEmbeds):
    """A prompt per row. Reached as ``df.llm``; it has no state.

    Args:
        frame: the frame, which is never changed.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        if not isinstance(frame, pd.DataFrame):
            raise AttributeError(f"df.llm is for pandas frames and series; found {type(frame).__name__}.")
        self._frame = frame

    def complete(
        self,
        prompt: Given | None = None,
        *,
        model: Models | None = None,
        into: str = "completion",
        system: str | None = None,
        schema: Any = None,
        messages: str | None = None,
        images: str | Sequence[str] | None = None,
        files: str | Sequence[str] | None = None,
        tools: Sequence[GivenTool] | None = None,
        tool_choice: str | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        reasoning: str | None = None,
        extra: Mapping[str, Any] | None = None,
        samples: int = 1,
        repeats: Repeats = "share",
        fallback: str | Sequence[str] = (),
        cache: Cache = "use",
        missing: Missing = "skip",
        on_error: OnError = "keep",
        overwrite: bool | None = None,
        budget: float | Budget | None = None,
        limits: Limits | None = None,
        timeout: float | None = None,
        tag: str | None = None,
        details: bool = False,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Complete one prompt per row.

        Equal prompts are sent once. Answers already in the store are not sent again, so the same call finishes what an
        earlier one left undone. Rows are never packed together: one row, one request.

        Args:
            prompt: jinja2 text whose variables are the frame's columns (``row["any label"]`` where a label is no
                identifier), a path to a ``.j2`` file, a list of ``{"role", "content"}`` templates, or what a function
                of `dfllm.prompts` returns. It may be left out where `messages` says all.
            model: provider and model, as in ``"openai/gpt-mini"``; else that of `dfllm.configure` or ``DFLLM_MODEL``. A
                list, or a mapping from aliases to models, asks each of them, into columns ``f"{into}_{alias}"``.
            into: name of the new column; errors go to ``f"{into}_error"``.
            system: a template for the system message.
            schema: what each answer must hold: a list of labels, a pydantic model, a mapping of fields to types, or a
                JSON schema. Sent as the provider's structured output and checked here.
            messages: a column of conversations, each a list of ``{"role", "content"}`` or JSON text of one; `prompt`
                goes on with them, and `system` stands before.
            images: a column, or several, of images to show with the prompt: https URLs, which the provider fetches,
                data URLs, paths, bytes, or Pillow images, or a list of them; PNG, JPEG, GIF or WebP of up to 20 MiB.
            files: a column, or several, of documents to show: PDF, or plain text where the provider takes that; https
                URLs, data URLs, paths or bytes, or a list of them.
            tools: what the model may ask to be called: typed functions, or JSON with name, description and parameters.
                Nothing is ever called here; what the model asks for goes into ``f"{into}_calls"``, as JSON.
            tool_choice: ``"auto"``, ``"required"``, ``"none"``, or the name of the tool to be called.
            temperature: sampling temperature, 0 to 2. Sent only if given, like all that follow down to `extra`.
            top_p: nucleus sampling, 0 to 1.
            max_tokens: the most output tokens, reasoning included.
            stop: a text, or up to four, that ends the answer.
            seed: the provider's sampling seed.
            reasoning: the provider's reasoning effort, such as ``"low"``.
            extra: further fields of the request's body, as the provider names them.
            samples: how often each row is asked, up to 128; with more than 1 each result column holds lists of so many
                values, and the row is an error if one of them failed.
            repeats: ``"share"`` asks equal rows once; ``"vary"`` gives the i-th of equal rows its own i-th answer.
            fallback: models asked in order for rows that failed for good with the one before.
            cache: ``"use"`` takes stored answers; ``"retry"`` takes them and asks again where an error was stored;
                ``"only"`` sends nothing; ``"off"`` takes none and keeps none, so that nothing but amounts is on disk;
                ``"refresh"`` asks everything anew, and the old answers stand until the new ones are there.
            missing: what a missing value does that the template prints: ``"skip"`` leaves the row unsent, ``"render"``
                prints nothing in its place, ``"raise"`` refuses the call.
            on_error: ``"keep"`` keeps errors in their column with one warning, ``"raise"`` raises when all is done,
                ``"stop"`` stops at the first failed row.
            overwrite: whether columns that exist are replaced. None replaces what an earlier run made, True anything,
                False nothing.
            budget: the most this call may spend, in USD, or a `dfllm.Budget` for a day or a tag. Each request reserves
                the most it could cost before it is sent; rows that do not fit end as ``BudgetExceeded``. It needs a
                known price and `max_tokens`.
            limits: how hard the provider may be asked, as in ``dfllm.Limits(concurrency=20)``.
            timeout: seconds one answer may take.
            tag: a word of yours for this call, shown in its report and in `dfllm.runs`; a budget may be for it.
            details: adds ``_key _model _source _tokens_in _tokens_out _cost _seconds _finish`` behind `into`; cost in
                USD, missing where no price is known.
            progress: whether a bar is drawn; None draws it in notebooks and terminals.

        Returns:
            A new frame, same index, length and order, with two columns more: `into` (text, missing where the row
            failed) and its error column (text, missing where it did not). With a schema of fields, one column
            ``f"{into}_{field}"`` each: whole numbers as Int64, numbers as Float64, truth as boolean, labels and text as
            text, lists and objects as JSON text. An answer cut short keeps its partial text beside its error.

        Raises:
            TemplateError: the template cannot be read, a column is missing, or the first rows all fail in it.
            OptionError: an option does not fit, or a column is in the way.
            ProviderUnknown: no such provider.
            KeyMissing: the provider wants an API key and none is set.
            StoreError: the store cannot be used. Up to here nothing was sent.
            RunStopped: the provider refused the key, the model or the request before anything succeeded, or `on_error`
                asked for an exception; ``.frame`` has what is known.
            KeyboardInterrupt: Ctrl-C. What was answered is saved; run the call again to go on.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"city": ["Oslo", "Lima"]})
            >>> df.llm.complete("Where is {{ city }}?", model="simulator/echo")["completion"].tolist()
            ['Where is Oslo?', 'Where is Lima?']
        """
        options = {name: value for name, value in locals().items() if name not in ("self", "prompt")}
        work = call_of(self._frame, prompt, Options(**options))  # type: ignore[typeddict-item]  # named just above
        ending = work.run()
        remember(ending)
        return work.conclude(ending)

    async def acomplete(self, prompt: Given | None = None, **options: Unpack[Options]) -> pd.DataFrame:
        """Do as `complete` does, awaited from any event loop. Being cancelled is as Ctrl-C is.

        Returns:
            As `complete`.

        Raises:
            asyncio.CancelledError: it was cancelled; what was answered is saved.

        Example:
            >>> import asyncio, pandas as pd, dfllm
            >>> df = pd.DataFrame({"city": ["Oslo"]})
            >>> asyncio.run(df.llm.acomplete("{{ city }}?", model="simulator/echo"))["completion"].tolist()
            ['Oslo?']
        """
        work = call_of(self._frame, prompt, options)
        ending, cancelled = await work.arun()
        remember(ending)
        if cancelled is not None:
            raise cancelled
        return work.conclude(ending)

    def plan(self, prompt: Given | None = None, **options: Unpack[Options]) -> Plan:
        """Say what `complete` would do with the same arguments. Nothing is sent and nothing is stored.

        Returns:
            A Plan: rows, distinct questions, how many are known, missing, skipped or cannot be sent, tokens and cost
            (at least, about and at most; live, and by batch where that price is known), and the first rendered prompts.
            Shown as a page in notebooks. Its ``run()`` carries it out.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"city": ["Oslo", "Lima", "Oslo"]})
            >>> df.llm.plan("Where is {{ city }}?", model="simulator/echo").distinct
            2
        """
        if isinstance(prompt, Task):
            options = {"into": prompt.into, **options}
        plan = call_of(self._frame, prompt, options, sends=False).plan()
        run = functools.partial(self.complete, prompt, **options)
        return Plan(**{name: getattr(plan, name) for name in plan.__dataclass_fields__ if name != "run"}, run=run)

    def iter_completions(self, prompt: Given | None = None, **options: Unpack[Options]) -> Iterator[Completion]:
        """Do as `complete` does, yielding rows as they finish, known ones first.

        Closing the iterator, or leaving its loop and letting it go, stops the run as Ctrl-C does.

        Yields:
            Completion: position, label, value, error and details of one row.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"city": ["Oslo"]}, index=["a"])
            >>> [(one.label, one.value) for one in df.llm.iter_completions("{{ city }}!", model="simulator/echo")]
            [('a', 'Oslo!')]
        """
        return stream(call_of(self._frame, prompt, options), remember)

    def aiter_completions(self, prompt: Given | None = None, **options: Unpack[Options]) -> AsyncIterator[Completion]:
        """Do as `iter_completions` does, on any event loop.

        Yields:
            Completion: position, label, value, error and details of one row.

        Example:
            >>> import asyncio, pandas as pd, dfllm
            >>> async def cities():
            ...     df = pd.DataFrame({"city": ["Oslo"]})
            ...     return [one.value async for one in df.llm.aiter_completions("{{ city }}!", model="simulator/echo")]
            >>> asyncio.run(cities())
            ['Oslo!']
        """
        return astream(call_of(self._frame, prompt, options), remember)

    async def aplan(self, prompt: Given | None = None, **options: Unpack[Options]) -> Plan:
        """Do as `plan` does, without holding up the event loop.

        Returns:
            As `plan`.

        Example:
            >>> import asyncio, pandas as pd, dfllm
            >>> df = pd.DataFrame({"city": ["Oslo"]})
            >>> asyncio.run(df.llm.aplan("{{ city }}?", model="simulator/echo")).rows
            1
        """
        import asyncio

        return await asyncio.to_thread(functools.partial(self.plan, prompt, **options))


class SeriesLLM(SeriesVerbs, SeriesEmbeds):
    """A prompt per value. Reached as ``s.llm``; the template's one variable is ``value``.

    Args:
        series: the series, which is never changed.
    """

    def __init__(self, series: pd.Series[Any]) -> None:
        self._frame = series.to_frame("value")

    def complete(self, prompt: Given | None = None, **options: Unpack[Options]) -> pd.DataFrame:
        """Complete one prompt per value; options as `DataFrameLLM.complete`.

        Returns:
            A frame with the series' index and only the new columns: `into` and its error column.

        Example:
            >>> import pandas as pd, dfllm
            >>> pd.Series(["Oslo"]).llm.complete("Where is {{ value }}?", model="simulator/echo")["completion"].tolist()
            ['Where is Oslo?']
        """
        return DataFrameLLM(self._frame).complete(prompt, **options).drop(columns="value")

    async def acomplete(self, prompt: Given | None = None, **options: Unpack[Options]) -> pd.DataFrame:
        """Do as `complete` does, awaited from any event loop.

        Returns:
            As `complete`.
        """
        return (await DataFrameLLM(self._frame).acomplete(prompt, **options)).drop(columns="value")

    def plan(self, prompt: Given | None = None, **options: Unpack[Options]) -> Plan:
        """Say what `complete` would do; nothing is sent.

        Returns:
            As `DataFrameLLM.plan`.
        """
        return DataFrameLLM(self._frame).plan(prompt, **options)

    def iter_completions(self, prompt: Given | None = None, **options: Unpack[Options]) -> Iterator[Completion]:
        """Yield values' completions as they finish.

        Yields:
            Completion: as `DataFrameLLM.iter_completions`.
        """
        return DataFrameLLM(self._frame).iter_completions(prompt, **options)


@overload
def llm(data: pd.DataFrame) -> DataFrameLLM: ...
@overload
def llm(data: pd.Series[Any]) -> SeriesLLM: ...
def llm(data: pd.DataFrame | pd.Series[Any]) -> DataFrameLLM | SeriesLLM:
    """Return what ``data.llm`` is, with its type known to type checkers.

    Args:
        data: a frame or a series.

    Raises:
        OptionError: it is neither.

    Example:
        >>> import pandas as pd, dfllm
        >>> frame = pd.DataFrame({"city": ["Oslo"]})
        >>> dfllm.llm(frame).complete("{{ city }}", model="simulator/echo")["completion"].tolist()
        ['Oslo']
    """
    if isinstance(data, pd.DataFrame):
        return DataFrameLLM(data)
    if isinstance(data, pd.Series):
        return SeriesLLM(data)
    raise OptionError(f"dfllm.llm takes a pandas DataFrame or Series; found {type(data).__name__}.")


def _spell_out() -> None:
    """Give every door the signature it really has."""
    whole = inspect.signature(DataFrameLLM.complete)
    for owner in (DataFrameLLM, SeriesLLM):
        for name, door in doors_of(owner):
            returns = inspect.signature(door).return_annotation
            setattr(owner, name, spelled_out(door, whole.replace(return_annotation=returns)))
    for verbs in (Verbs, SeriesVerbs):
        spell_out(verbs, whole)


def register() -> None:
    """Put the accessors in place; another package's ``llm`` is replaced with a warning that names it."""
    for kind, accessor in ((pd.DataFrame, DataFrameLLM), (pd.Series, SeriesLLM)):
        found = getattr(kind, "llm", None)
        owner = getattr(found, "__module__", None)
        if found is not None and owner is not None and owner.partition(".")[0] != "dfllm":
            warnings.warn(
                f"{kind.__name__}.llm belonged to {owner}; dfllm has replaced it. Import {owner} later to get it back.",
                AccessorWarning,
                stacklevel=3,
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pandas' own warning does not name the owner
            api = pd.api.extensions
            register = api.register_dataframe_accessor if kind is pd.DataFrame else api.register_series_accessor
            register("llm")(accessor)


_spell_out()
