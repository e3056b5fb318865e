"""One call for embeddings on one frame: what `Work` does for answers, with texts in packs and vectors in the column."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from numbers import Integral
from os import PathLike
from typing import Any, cast

import pandas as pd

from dfllm._core.errors import OptionError, TemplateError, listed
from dfllm._core.prefix import shared_of
from dfllm._core.terms import terms_of
from dfllm._frame import Columns, cells_of
from dfllm._options import Common, Options
from dfllm._run.desk import Order
from dfllm._run.prices import window_of
from dfllm._run.settings import endpoint_of, providers
from dfllm._wire.embeddings import EMBEDDERS, TASKS, dialect_of, packing_of
from dfllm._wire.providers import Embeds, Provider, identity_of, normalised, split
from dfllm._work import Work

_MOST_DIMENSIONS = 65_536


class EmbedOptions(Common, total=False):
    """The options of a call for embeddings, as `DataFrameLLM.embed` documents them."""

    model: str | None
    dimensions: int | None
    task: str | None


#: What a call for embeddings takes, and `Work` knows nothing of.
_OWN = ("dimensions", "task")


class EmbedWork(Work):
    """One call for embeddings on one frame. Making it checks everything and sends nothing.

    Args:
        frame: the user's frame, which is never changed.
        text: the template of each row's text, or a path to one.
        options: as `DataFrameLLM.embed` takes them.

    Raises:
        DfllmError: something does not fit; see `DataFrameLLM.embed`.
    """

    def __init__(self, frame: pd.DataFrame, text: Any, options: EmbedOptions) -> None:
        if not isinstance(text, str | PathLike):
            kind = type(text).__name__
            raise OptionError(
                f"text takes one template or a path to one, since one text makes one vector; found {kind}."
            )
        self._dimensions = _dimensions(options.get("dimensions"))
        self._task = options.get("task")
        if self._task is not None and self._task not in TASKS:
            raise OptionError(f"task={self._task!r} does not fit; it takes {', '.join(map(repr, TASKS))}.")
        rest = {name: value for name, value in options.items() if name not in _OWN}
        super().__init__(frame, text, cast("Options", {"into": "embedding", **rest}))
        if not self._prompt.columns and text in list(frame.columns):
            written = text if text.isidentifier() else f"row[{json.dumps(text, ensure_ascii=False)}]"
            raise TemplateError(
                f"text={text[:80]!r} is a template that reads no column, so all rows would have the same vector. "
                f"The column of that name is written '{{{{ {written} }}}}'."
            )
        self.names = self.names._replace(results=dict.fromkeys(self.names.results, "vector"))
        self.columns = Columns(self.names)

    def _find_provider(self, *, sends: bool) -> None:
        options = self.options
        provider, model = split(str(self.settings.model), providers())
        embeds = _embeds_of(provider)
        terms = terms_of(provider=provider.name, dialect=embeds.dialect, model=model, extra=options.get("extra"))
        terms = replace(terms, dimensions=self._dimensions, task=self._task_at(provider.name, embeds))
        packing = packing_of(embeds, terms)
        if self.settings.budget is not None and self.settings.budget.per == "tag" and not options.get("tag"):
            raise OptionError("A budget per tag needs a tag: say tag='...'.")
        self._endpoint = endpoint_of(provider, self.settings, needs_key=sends and options.get("cache") != "only")
        self._key_names = provider.key_names
        usual = provider.built_in and normalised(provider.base_url) == normalised(self._endpoint.base_url)
        self._expects_cached = False  # nobody keeps the beginning of a text that is embedded
        self._shared = shared_of(terms, (), self._prompt.fixed_bytes)
        self._price_as = (provider.prices or provider.name) if usual else None
        self.model = f"{provider.name}/{model}"
        self.order = Order(
            self._prompt,
            replace(terms, provider=identity_of(provider, self._endpoint.base_url)),
            None,
            dialect_of(embeds),
            len(self.frame),
            cells_of(self.frame, self._prompt.columns),
            options.get("cache", "use"),
            stop_at_failure=self.on_error == "stop",
            tag=options.get("tag"),
            context=partial(window_of, provider.prices or provider.name, model),
            packing=packing,
        )

    def _task_at(self, provider: str, embeds: Embeds) -> str | None:
        """Return what the vectors are for, as this provider is told."""
        embedder = EMBEDDERS[embeds.dialect]
        if self._task is None:
            return embedder.task
        if self._task not in embedder.tasks:
            takes = f"takes {', '.join(map(repr, embedder.tasks))}" if embedder.tasks else "has no word for it"
            raise OptionError(f"task={self._task!r} does not fit: {provider} {takes}. Leave task= out.")
        return self._task


def _embeds_of(provider: Provider) -> Embeds:
    if provider.embeds is None:
        others = [name for name, one in providers().items() if one.embeds is not None]
        raise OptionError(
            f"{provider.name} has no embeddings{' here' if provider.dialect.startswith('openai') else ''}. "
            f"These have: {listed(others, 20)}."
        )
    return provider.embeds


def _dimensions(given: Any) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, Integral) or not 1 <= int(given) <= _MOST_DIMENSIONS:
        raise OptionError(f"dimensions takes a whole number from 1 to {_MOST_DIMENSIONS:,}; found {given!r}.")
    return int(given)  # numpy has whole numbers of its own
