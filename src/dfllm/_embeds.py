"""The doors to embeddings: `df.llm.embed` and its twins, as the accessors inherit them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias, Unpack

import pandas as pd

from dfllm._core.budget import Budget
from dfllm._core.types import Missing
from dfllm._doors import doors_of, spelled_out
from dfllm._embedding import EmbedOptions, EmbedWork
from dfllm._options import OnError
from dfllm._run.desk import Cache
from dfllm._run.settings import Limits
from dfllm.report import remember

Text: TypeAlias = str | Path


class FrameEmbeds:
    """What ``df.llm`` does with vectors."""

    _frame: pd.DataFrame

    def embed(
        self,
        text: Text,
        *,
        model: str | None = None,
        into: str = "embedding",
        dimensions: int | None = None,
        task: str | None = None,
        extra: Mapping[str, Any] | None = None,
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
        """Make one vector of each row's text.

        Many texts go in one request, as many as the provider takes, and yet each is a question of its own: equal texts
        are sent once, each vector is kept with its share of the usage, and a call that was broken off goes on with what
        is missing. A request that is refused for what is in it goes round again in halves, so a bad text fails alone.

        Args:
            text: jinja2 text whose variables are the frame's columns, or a path to a ``.j2`` file. A column as it
                stands is ``"{{ column }}"``.
            model: provider and model, as in ``"openai/text-embedding-3-small"``; else that of `dfllm.configure` or
                ``DFLLM_MODEL``.
            into: name of the new column; errors go to ``f"{into}_error"``.
            dimensions: how many numbers each vector is to have, for models that let one choose; None is the model's own
                number.
            task: what the vectors are for, where the provider is told: ``"query"``, ``"document"``,
                ``"classification"``, ``"clustering"`` or ``"similarity"``. It is part of the question.
            extra: further fields of the request's body, as the provider names them.
            cache: as in `complete`.
            missing: as in `complete`.
            on_error: as in `complete`.
            overwrite: as in `complete`.
            budget: as in `complete`; it needs a known price.
            limits: how hard the provider may be asked. A request is one request, however many texts it has.
            timeout: seconds one answer may take.
            tag: a word of yours for this call.
            details: adds ``_key _model _source _tokens_in _tokens_out _cost _seconds _finish`` behind `into`; tokens
                and cost are the text's share of its request.
            progress: whether a bar is drawn; None draws it in notebooks and terminals.

        Returns:
            A new frame, same index, length and order, with two columns more: `into`, numpy arrays of float32 with one
            dimension (None where the row failed), and its error column (text, missing where it did not).

        Raises:
            TemplateError: as in `complete`.
            OptionError: an option does not fit, or the provider has no embeddings.
            RunStopped: as in `complete`.
            KeyboardInterrupt: Ctrl-C. What was answered is saved; run the call again to go on.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"review": ["Warm and light.", "It leaks."]})
            >>> out = df.llm.embed("{{ review }}", model="simulator/embed-small", dimensions=8)
            >>> [vector.shape for vector in out["embedding"]], str(out["embedding"][0].dtype)
            ([(8,), (8,)], 'float32')
        """
        options = {name: value for name, value in locals().items() if name not in ("self", "text")}
        work = EmbedWork(self._frame, text, EmbedOptions(**options))  # type: ignore[typeddict-item]  # named just above
        ending = work.run()
        remember(ending)
        return work.conclude(ending)

    async def aembed(self, text: Text, **options: Unpack[EmbedOptions]) -> pd.DataFrame:
        """Do as `embed` does, awaited from any event loop. Being cancelled is as Ctrl-C is.

        Returns:
            As `embed`.

        Raises:
            asyncio.CancelledError: it was cancelled; what was answered is saved.

        Example:
            >>> import asyncio, pandas as pd, dfllm
            >>> df = pd.DataFrame({"review": ["It leaks."]})
            >>> out = asyncio.run(df.llm.aembed("{{ review }}", model="simulator/embed-small"))
            >>> out["embedding"][0].shape
            (256,)
        """
        work = EmbedWork(self._frame, text, options)
        ending, cancelled = await work.arun()
        remember(ending)
        if cancelled is not None:
            raise cancelled
        return work.conclude(ending)


class SeriesEmbeds:
    """What ``s.llm`` does with vectors; the template's one variable is ``value``."""

    _frame: pd.DataFrame

    def embed(self, text: Text = "{{ value }}", **options: Unpack[EmbedOptions]) -> pd.DataFrame:
        """Make one vector of each value; options as `DataFrameLLM.embed`.

        Returns:
            A frame with the series' index and only the new columns: `into` and its error column.

        Example:
            >>> import pandas as pd, dfllm
            >>> pd.Series(["It leaks."]).llm.embed(model="simulator/embed-small")["embedding"][0].shape
            (256,)
        """
        return _Framed(self._frame).embed(text, **options).drop(columns="value")

    async def aembed(self, text: Text = "{{ value }}", **options: Unpack[EmbedOptions]) -> pd.DataFrame:
        """Do as `embed` does, awaited from any event loop.

        Returns:
            As `embed`.
        """
        return (await _Framed(self._frame).aembed(text, **options)).drop(columns="value")


class _Framed(FrameEmbeds):
    """A frame's doors without its accessor."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame


def _spell_out() -> None:
    """Give every door the options it really has; the first argument is its own, as the series' has a default."""
    options = list(inspect.signature(FrameEmbeds.embed).parameters.values())[2:]
    for owner in (FrameEmbeds, SeriesEmbeds):
        for name, door in doors_of(owner):
            own = inspect.signature(door)
            first = list(own.parameters.values())[:2]
            setattr(owner, name, spelled_out(door, own.replace(parameters=[*first, *options])))


_spell_out()
