"""One call on one frame: everything checked when it is made, sent when it is run, and brought to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from itertools import takewhile
from typing import cast

import pandas as pd

from dfllm._attached import attached_of, brought, check_taken
from dfllm._core.errors import (
    STOPS,
    ModelWarning,
    OptionError,
    PromptCacheWarning,
    StoreError,
    TemplateError,
)
from dfllm._core.inputs import has_surrogate
from dfllm._core.plan import Plan
from dfllm._core.prefix import advice as caching_advice
from dfllm._core.prefix import prompt_cache_key, shared_of
from dfllm._core.schema import Schema, schema_of
from dfllm._core.tasks import Task
from dfllm._core.template import Prompt, check_columns, recipe_of
from dfllm._core.terms import terms_of
from dfllm._core.tools import Tool, choice_of, tools_of
from dfllm._core.types import Failure
from dfllm._core.warned import warn
from dfllm._frame import Columns, answers_of, cells_of, check_names, names_of
from dfllm._options import OnError, Options, check_choices, sampling_of
from dfllm._planning import plan_of
from dfllm._run.clouds import located
from dfllm._run.desk import Order, Sink
from dfllm._run.desk_sampled import desk_of
from dfllm._run.engine import Engine
from dfllm._run.files import Given, prompt_text
from dfllm._run.gathering import Count, Gather
from dfllm._run.prices import window_of
from dfllm._run.progress import Progress
from dfllm._run.refreshing import concluded, refresh_of, resumed
from dfllm._run.runtime import engine_for, near_model, runtime
from dfllm._run.settings import current, endpoint_of, providers
from dfllm._run.store import Store
from dfllm._run.store_off import NOWHERE, Off
from dfllm._run.store_refresh import Refresh
from dfllm._run.tallies import PlacesTally
from dfllm._run.tally import Tally
from dfllm._running import Answers, Carried, Ending, Runner, Sinks, concluded_by, failure_text, interruption
from dfllm._tasks import Pairs, PairTally, doubled, halved, options_of
from dfllm._wire.abilities import offered
from dfllm._wire.dialects import DIALECTS, media_of, schema_part
from dfllm._wire.media import Rules
from dfllm._wire.providers import identity_of, normalised, split


class Work(Carried):
    """One call on one frame. Making it checks everything and sends nothing.

    Args:
        frame: the user's frame, which is never changed.
        prompt: the template, a path to one, or a list of roles and templates; None where rows bring all that is asked.
        options: as `DataFrameLLM.complete` takes them.
        sends: whether it will be run; a plan needs no API key.
        alias: what its model is called among several; None where it is the only one.

    Raises:
        DfllmError: something does not fit; see `DataFrameLLM.complete`.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        prompt: Given | None,
        options: Options,
        *,
        sends: bool = True,
        alias: str | None = None,
    ) -> None:
        check_choices(options)
        task = prompt if isinstance(prompt, Task) else None
        if isinstance(prompt, Task):
            options, prompt = options_of(prompt, options), prompt.messages(list(frame.columns))
        self.given = frame
        #: The rows that are asked about: the frame's, or each of them twice.
        self.frame = doubled(frame) if task is not None and task.paired else frame
        self._paired = self.frame is not frame
        self.options = options
        self.alias = alias
        self.on_error: OnError = options.get("on_error", "keep")
        self.settings = current(
            model=cast("str | None", options.get("model")),  # of several, each has a work of its own
            budget=options.get("budget"),
            limits=options.get("limits"),
            timeout=options.get("timeout"),
            progress=options.get("progress"),
        )
        if self.settings.model is None:
            raise OptionError(
                "No model is named. Say model='provider/model', dfllm.configure(model=...) or DFLLM_MODEL; "
                "in a shell, -m provider/model."
            )
        missing = options.get("missing", "skip")
        self._attached = attached_of(options)
        self.prompt = None if prompt is None else prompt_text(prompt)
        recipe = recipe_of(self.prompt, options.get("system"), missing, talks=bool(self._attached.messages))
        if any("\x00" in message.content or has_surrogate(message.content) for message in recipe.messages):
            raise TemplateError("The template holds NUL or a lone surrogate, which no provider takes.")
        self._recipe = recipe
        self._prompt = Prompt(recipe)
        check_columns(self._prompt.columns, list(self.frame.columns))
        self._attached.check(list(frame.columns))
        self.schema: Schema | None = schema_of(given) if (given := options.get("schema")) is not None else None
        self._tools: tuple[Tool, ...] = tools_of(given) if (given := options.get("tools")) is not None else ()
        self.names = names_of(
            options.get("into", "completion"),
            self.schema,
            details=options.get("details", False),
            calls=bool(self._tools),
        )
        read = [*self._prompt.columns, *self._attached.columns]
        check_names(frame, self.names, read=read, overwrite=options.get("overwrite"))
        self.off = runtime().off(self.settings) if options.get("cache") == "off" else None
        self.store()  # before a provider is looked for: without a store nothing is sent
        self._find_provider(sends=sends)
        self.tally = self._tally(len(frame))
        self.columns = Columns(self.names, lists=self.order.each > 1)

    def _tally(self, rows: int) -> Tally:
        if self._paired:
            if self.order.each > 1:
                raise OptionError("Each row is asked in both orders here, once each: samples= does not go with that.")
            return PairTally(rows)
        return PlacesTally(rows) if self.order.each > 1 else Tally(rows)

    def store(self) -> Store | Off:
        """Return where answers are and go. Asked for each time, as one that failed is opened anew."""
        return self.off or runtime().store(self.settings)

    def _find_provider(self, *, sends: bool) -> None:
        options, sampling = self.options, sampling_of(self.options)
        asks = sends and options.get("cache") != "only"
        provider, model = split(str(self.settings.model), providers())
        if not provider.dialect:
            raise OptionError(f"{provider.name} has embeddings alone here: df.llm.embed asks it for them.")
        provider = located(provider, needed=asks)
        dialect = DIALECTS[provider.dialect]
        if provider.schema_by_tool and self.schema is not None:
            dialect = dialect.by_tool()
        terms = terms_of(
            provider=provider.name,
            dialect=provider.dialect,
            model=model,
            max_tokens_field=provider.max_tokens_field,
            seed_field=provider.seed_field,
            temperature=options.get("temperature"),
            top_p=options.get("top_p"),
            max_tokens=dialect.max_tokens if options.get("max_tokens") is None else options.get("max_tokens"),
            stop=options.get("stop"),
            seed=options.get("seed"),
            reasoning=options.get("reasoning"),
            schema=schema_part(provider, self.schema.sent, strict=self.schema.strict) if self.schema else None,
            service_tier=self.settings.service_tier,
            service_tiers=provider.service_tiers,
            extra=options.get("extra"),
            tools=offered(self._tools, provider, dialect),
            tool_choice=choice_of(options.get("tool_choice"), self._tools),
        )
        context = cache(partial(window_of, provider.prices or provider.name, model))
        rules = Rules(media_of(provider), provider.name, model, context, is_capped=self.settings.budget is not None)
        check_taken(self._attached, rules)
        odd = dialect.order([message.role for message in self._recipe.messages])
        if odd is not None and not self._attached.messages:
            raise OptionError(f"{odd}. Put a message of the user's there.")
        dialect.encoder(terms)  # an `extra` that sets what is not its to set is refused here
        if self.settings.budget is not None and self.settings.budget.per == "tag" and not options.get("tag"):
            raise OptionError("A budget per tag needs a tag: say tag='...'.")
        self._endpoint = endpoint_of(provider, self.settings, needs_key=asks)
        self._key_names = provider.key_names
        usual = provider.built_in and normalised(provider.base_url) == normalised(self._endpoint.base_url)
        identity = identity_of(provider, self._endpoint.base_url)
        # A row's images stand before the text they go with, and end what rows have in common, as its own turns do.
        prefix = self._prompt.prefix[: self._prompt.last_asked if self._attached.columns else None]
        if self._attached.messages:
            prefix = tuple(takewhile(lambda message: message.role in ("system", "developer"), prefix))
        # Another server at the provider's name may refuse a field that it does not know.
        routes = provider.takes_prompt_cache_key and identity == provider.name
        self._expects_cached = routes and self.settings.prompt_caching == "auto"
        self._shared = shared_of(terms, prefix, self._prompt.fixed_bytes)
        self._price_as = (provider.prices or provider.name) if usual else None
        self.model = f"{provider.name}/{model}"
        self.order = Order(
            self._prompt,
            replace(
                terms,
                provider=identity,
                prompt_cache_key=prompt_cache_key(terms, prefix) if self._expects_cached else None,
            ),
            self.schema,
            dialect,
            len(self.frame) * (1 if sampling is None else sampling.each),
            cells_of(self.frame, self._prompt.columns),
            options.get("cache", "use"),
            stop_at_failure=self.on_error == "stop",
            tag=options.get("tag"),
            context=context,
            brought=brought(self.frame, self._attached, self.settings, rules, skip=self._skips)
            if self._attached.columns
            else None,
            rules=rules if self._attached.columns else None,
            shows=bool(self._attached.kinds),
            bounded=lambda: all(map(rules.is_bounded, self._attached.kinds)),
            sampling=sampling,
        )

    def _refresh(self) -> Refresh:
        return refresh_of(self.order, self._recipe, self._attached._asdict())

    @property
    def _skips(self) -> bool:
        return self.options.get("missing", "skip") != "render"

    def plan(self) -> Plan:
        """Return what a run would do. Nothing is sent, nothing is stored."""
        self.resume(sends=False)
        plan = plan_of(
            desk_of(self.order, self.store()),
            self.order,
            self.settings,
            model=self.model,
            schema=self.schema,
            shared=self._shared,
            price_as=self._price_as,
        )
        return halved(plan) if self._paired else plan

    def ready(self, sinks: Sinks | None = None) -> tuple[Engine, Progress]:
        """Return the engine and the progress bar of a run that has not begun."""
        self.resume(sends=True)
        progress = Progress(self.tally, self.model, shown=self.settings.progress)
        sink: Sink = self.columns if sinks is None else sinks(self)
        if isinstance(self.tally, PlacesTally):
            stop = self.on_error == "stop"
            sink = Count(sink, [self.tally], lambda: engine.stop_at_failure() if stop else None)
        engine = self.engine(self.rows_of(sink), progress.update)
        self.check_missing()
        return engine, progress

    def resume(self, *, sends: bool) -> None:
        """Note from when on answers count; where something is to be sent, that is on disk before."""
        self.order = resumed(self.order, self._refresh(), self.store(), sends=sends)

    def engine(self, sink: Sink, changed: Callable[[], None], *, shared: str | None = None) -> Engine:
        """Return the engine of a run that has not begun.

        Args:
            sink: where outcomes go.
            changed: called when something was counted.
            shared: the id of the run that it shares with other engines; None where it has one of its own.
        """
        return engine_for(
            self.order,
            self._endpoint,
            self.settings,
            sink=sink,
            tally=self.tally,
            changed=changed,
            price_as=self._price_as,
            store=self.store(),
            shared=shared,
        )

    def check_missing(self) -> None:
        """Refuse a missing value where the call is to be refused for it."""
        if self.options.get("missing") == "raise":
            self._refuse_missing()

    def rows_of(self, sink: Sink) -> Sink:
        """Return what takes an engine's outcomes and passes those of whole rows on to a sink."""
        if self._paired:
            return Pairs(sink, self.tally if isinstance(self.tally, PairTally) else PairTally(0))
        return Gather(sink, self.order.each) if self.order.each > 1 else sink

    def _refuse_missing(self) -> None:
        desk = desk_of(self.order, self.store())
        for start, stop in desk.windows():
            for place, one in enumerate(desk.rendered(start, stop)[1], start):
                if isinstance(one, Failure) and one.type == "Skipped":
                    place //= 1 + self._paired
                    raise TemplateError(f"Row {place}: {one.reason}, and missing='raise'. Nothing was sent.")

    def ending(self, engine: Runner, seconds: float, *, interrupted: bool, frame: pd.DataFrame | None = None) -> Ending:
        """Return how the run that this engine made came to its end.

        Args:
            engine: the engine.
            seconds: how long it took.
            interrupted: whether the user ended it.
            frame: what the columns are put into; None is the user's frame.
        """
        live = cast("Engine", engine).live
        stopped = live.stopped if live is not None else None
        if not interrupted and stopped is None:
            self.refreshed(self.tally.errors)
        frame = self.columns.frame(self.given if frame is None else frame)
        began = live is not None and live.succeeded
        return self.ended(frame, seconds, stopped=stopped, began=began, interrupted=interrupted)

    def ended(
        self, frame: pd.DataFrame, seconds: float, *, stopped: Failure | None, began: bool, interrupted: bool
    ) -> Ending:
        """Return an ending with what is known of it here."""
        return Ending(
            frame=frame,
            tally=self.tally,
            model=self.model,
            error_column=self.names.error,
            seconds=seconds,
            stopped=stopped,
            began=began,
            interrupted=interrupted,
            store=NOWHERE if self.off else str(self.settings.store_path),
            tag=self.options.get("tag"),
            answers=Answers(
                self.alias or self.model,
                answers_of(self.names, self.schema),
                self.names.error,
                text=self.schema is None,
            ),
        )

    def refreshed(self, errors: Counter[str]) -> None:
        """Note that a refresh came to its own end, and with which errors."""
        if self.order.cache == "refresh":
            with suppress(StoreError):  # it goes on where it was, then
                concluded(self.order, self._refresh(), self.store(), errors)

    def conclude(self, ending: Ending) -> pd.DataFrame:
        """Return the frame, or raise what the ending and `on_error` call for; failed rows give one warning.

        Raises:
            KeyboardInterrupt: the run was interrupted.
            RunStopped: it was stopped before anything succeeded, or `on_error` asks for an exception.
            StoreError: the store failed before anything succeeded.
        """
        stopped = ending.stopped
        if ending.interrupted:
            raise interruption(ending, saved=ending.saved)
        if stopped is not None and not ending.began:
            if stopped.type == "StoreError":
                raise StoreError(stopped.reason)
            kind = STOPS.get(stopped.type)
            if kind is not None:
                raise kind(self.explained(stopped), frame=ending.frame, failure=stopped)
        self.remark()
        return concluded_by(self.on_error, ending, failure_text(ending))

    def remark(self) -> None:
        """Warn of what went otherwise than was asked, but for rows that failed."""
        tally = self.tally
        if tally.other_models:
            others = ", ".join(f"{model} {count:,}" for model, count in tally.other_models.most_common(3))
            said = f"{self.model} was asked, and other models answered: {others}. The answers are kept."
            warn(said, ModelWarning)
        if self._expects_cached:
            missed = caching_advice(self._shared, tally.asked, tally.tokens_in, tally.tokens_cached)
            if missed is not None:
                warn(missed, PromptCacheWarning)

    def explained(self, stopped: Failure) -> str:
        """Return what is said of a run that was stopped before anything succeeded."""
        known = self.tally.known
        said = f"{self.model}: {stopped}. The run was stopped"
        said += f"; {known:,} rows were known, see .frame." if known else " before any row was answered."
        if stopped.type == "ModelNotFound":
            said += near_model(self._endpoint, self.order)
        elif stopped.type == "AuthFailed" and self._key_names:
            said += f" Check {' or '.join(self._key_names)}."
        elif stopped.type == "ConnectFailed":
            said += f" Is {self._endpoint.base_url} right, and is it up?"
        return said
