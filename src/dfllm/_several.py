"""Calls to several models: side by side with columns of their own, or in turn for the rows that one leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import pandas as pd

from dfllm._core.aliases import aliases_of, check_told_apart, fallbacks_of
from dfllm._core.errors import STOPS, ModelWarning, OptionError, SamplesWarning, StoreError
from dfllm._core.plan import Plan
from dfllm._core.plans import summed
from dfllm._core.tasks import Task
from dfllm._core.types import Failure
from dfllm._core.warned import warn
from dfllm._options import Options
from dfllm._run.crew import Books, Chain, Crew
from dfllm._run.desk import Settled, Sink
from dfllm._run.engine import Engine
from dfllm._run.files import Given, prompt_text
from dfllm._run.gathering import Count, Hold
from dfllm._run.progress import Progress
from dfllm._run.runtime import run_id
from dfllm._run.sampling import Numbered, Sampling
from dfllm._run.tallies import PlacesTally, add_up
from dfllm._run.tally import Tally
from dfllm._running import Carried, Ending, Runner, Sinks, concluded_by, failure_text, interruption
from dfllm._work import Work


def call_of(frame: pd.DataFrame, prompt: Given | None, options: Options, *, sends: bool = True) -> Carried:
    """Return the call that these options describe. Making it checks everything and sends nothing.

    Raises:
        DfllmError: something does not fit; see `DataFrameLLM.complete`.
    """
    if isinstance(prompt, Task):
        options = {"into": prompt.into, **options}
    models = aliases_of(options.get("model"))
    fallback = fallbacks_of(options.get("fallback", ()))
    if models is not None and fallback:
        raise OptionError(
            "fallback= goes with one model: where several are compared, each column has its own model's answers. "
            "Leave fallback= out, or name one model."
        )
    call: Carried
    if models is not None:
        call = Several(frame, prompt, options, models, sends=sends)
    elif fallback:
        call = Backed(frame, prompt, options, fallback, sends=sends)
    else:
        call = Work(frame, prompt, options, sends=sends)
    if options.get("samples", 1) > 1 or options.get("repeats", "share") == "vary":
        _warn_of_equal(options)
    return call


def _read(prompt: Given | None) -> Given | None:
    """Return the prompt as it stands now, so that all models are asked the same."""
    return prompt if prompt is None or isinstance(prompt, Task) else prompt_text(prompt)


def _warn_of_equal(options: Options) -> None:
    """Say so where what is asked for makes samples equal."""
    given = [f"seed={options.get('seed')}"] if options.get("seed") is not None else []
    given += ["temperature=0"] if options.get("temperature") == 0 else []
    if given:
        said = f"{' and '.join(given)} goes with every sample, so a provider may give the same answer each time."
        warn(f"{said} Leave it out for answers that differ.", SamplesWarning)


class _Joint(Carried):
    """A call whose works are one run: one record, one progress line, one budget."""

    def __init__(self, works: Sequence[Work], *, rows: int) -> None:
        self.works = works
        check_told_apart([work.model for work in works])
        for work in works:
            work.tally = PlacesTally(work.tally.rows)
        self.total = Tally(rows)
        self._stops = works[0].on_error == "stop"

    @property
    def model(self) -> str:
        """All models."""
        return ", ".join(work.model for work in self.works)

    def _added_up(self, *, late: bool = False) -> Tally:
        add_up(self.total, [work.tally for work in self.works], late=late)
        return self.total

    def _progress(self) -> tuple[Progress, Callable[[], None]]:
        progress = Progress(self.total, self.model, shown=self.works[0].settings.progress)

        def changed() -> None:
            self._added_up()
            progress.update()

        return progress, changed

    def _books(self, run: str) -> Books:
        first, orders = self.works[0], [work.order for work in self.works]
        models = [(order.terms.provider, order.terms.model) for order in orders]
        return Books(first.store(), run, first.options.get("tag"), models, self._added_up)

    def _ending(self, parts: Sequence[Ending], stopped: Failure | None) -> Ending:
        self._added_up(late=True)
        return parts[0]._replace(
            frame=parts[-1].frame,
            tally=self.total,
            model=self.model,
            stopped=stopped,
            began=any(part.began for part in parts),
            parts=tuple(parts),
        )


class Several(_Joint):
    """One prompt to several models, side by side.

    Args:
        frame: the user's frame, which is never changed.
        prompt: as `Work` takes it.
        options: as `DataFrameLLM.complete` takes them.
        models: the models by alias.
        sends: whether it will be run; a plan needs no API key.

    Raises:
        DfllmError: something does not fit one of them, or their columns would be the same.
    """

    def __init__(
        self, frame: pd.DataFrame, prompt: Given | None, options: Options, models: dict[str, str], *, sends: bool
    ) -> None:
        given, into = _read(prompt), cast("object", options.get("into", "completion"))
        if not isinstance(into, str) or not into:
            raise OptionError(f"into takes a column's name; found {into!r}.")
        works = []
        for alias, model in models.items():
            own: Options = {**options, "model": model, "into": f"{into}_{alias}"}
            works.append(Work(frame, given, own, sends=sends, alias=alias))
        columns = [name for work in works for name in work.names.all]
        if twice := [name for name in columns if columns.count(name) > 1]:
            raise OptionError(
                f"Two models would make the column {twice[0]!r}. Say model={{'alias': 'provider/model'}}."
            )
        super().__init__(works, rows=len(frame) * len(works))

    def plan(self) -> Plan:
        """Return what a run would do. Nothing is sent, nothing is stored."""
        return summed([work.plan() for work in self.works])

    def ready(self, sinks: Sinks | None = None) -> tuple[Runner, Progress]:
        """Return what runs all models, and the progress bar of a run that has not begun."""
        run = run_id()
        progress, changed = self._progress()
        crew: Crew

        def failed() -> None:
            if self._stops:
                crew.stop_at_failure()

        engines = []
        for work in self.works:
            work.resume(sends=True)
            sink: Sink = Count(
                work.columns if sinks is None else sinks(work), [cast("PlacesTally", work.tally)], failed
            )
            engines.append(work.engine(work.rows_of(sink), changed, shared=run))
        self.works[0].check_missing()
        crew = Crew(engines, self._books(run))
        return crew, progress

    def ending(self, engine: Runner, seconds: float, *, interrupted: bool) -> Ending:
        """Return how the run came to its end."""
        parts: list[Ending] = []
        for work, one in zip(self.works, cast("Crew", engine).engines, strict=True):
            frame = parts[-1].frame if parts else None
            parts.append(work.ending(one, seconds, interrupted=interrupted, frame=frame))
        return self._ending(parts, next((part.stopped for part in parts if part.stopped is not None), None))

    def conclude(self, ending: Ending) -> pd.DataFrame:
        """Return the frame, or raise what the ending and `on_error` call for; failed rows give one warning.

        Raises:
            KeyboardInterrupt: the run was interrupted.
            RunStopped: models were stopped before any succeeded, or `on_error` asks for an exception.
            StoreError: the store failed before anything succeeded.
        """
        if ending.interrupted:
            raise interruption(ending, saved=ending.parts[0].saved)
        # A model whose answers were all known has not begun, and yet it has answered.
        answered = ending.began or any(part.tally.ok for part in ending.parts if part.stopped is None)
        for work, part in zip(self.works, ending.parts, strict=True):
            if part.stopped is not None and not answered:
                _raise_stop(work, part.stopped, ending)
            work.remark()
        columns = ", ".join(repr(part.error_column) for part in ending.parts if part.tally.failed)
        said = failure_text(ending._replace(stopped=None), "answers are missing", columns)
        for part in ending.parts:
            if part.stopped is not None and part.tally.failed:
                cause = f"{part.stopped.type}: {part.stopped.reason.rstrip('.')}"
                said += f" {part.model} was stopped early: {cause}. Run again to go on."
        return concluded_by(self.works[0].on_error, ending, said)


class Backed(_Joint):
    """One prompt to a model, and to others for the rows that it could not answer.

    Args:
        frame: the user's frame, which is never changed.
        prompt: as `Work` takes it.
        options: as `DataFrameLLM.complete` takes them.
        fallback: the others, in order.
        sends: whether it will be run; a plan needs no API key.

    Raises:
        DfllmError: something does not fit one of them.
    """

    def __init__(
        self, frame: pd.DataFrame, prompt: Given | None, options: Options, fallback: Sequence[str], *, sends: bool
    ) -> None:
        given = _read(prompt)
        every = [options, *(cast("Options", {**options, "model": model}) for model in fallback)]
        super().__init__([Work(frame, given, own, sends=sends) for own in every], rows=len(frame))
        for work in self.works:
            work.columns.asked = [each.model for each in self.works]

    def plan(self) -> Plan:
        """Return what a run would do. Nothing is sent, nothing is stored."""
        self._link(sends=False)
        return replace(self.works[0].plan(), fallback=tuple(work.model for work in self.works[1:]))

    def _link(self, *, sends: bool) -> None:
        """Tell each model's order of those whose answers are as good."""
        others: tuple[Work, ...] = ()
        for work in reversed(self.works):
            work.resume(sends=sends)
            work.order = replace(work.order, others=tuple(other.order for other in others))
            others = (work, *others)

    def ready(self, sinks: Sinks | None = None) -> tuple[Runner, Progress]:
        """Return what runs one model after the other, and the progress bar of a run that has not begun."""
        self._link(sends=True)
        run, (first, *later) = run_id(), self.works
        progress, changed = self._progress()
        chain: Chain

        def failed() -> None:
            if self._stops:
                chain.stop_at_failure()

        tallies = [cast("PlacesTally", work.tally) for work in self.works]
        rows: Sink = Count(first.columns if sinks is None else sinks(first), tallies, failed)
        sink = first.rows_of(rows)
        before: dict[int, list[Settled]] = {}

        def after(number: int, places: Sequence[int]) -> tuple[Engine, Hold]:
            hold = Hold(sink, number, places, before, last=number == len(later))
            return _left(self.works[number], places, first.order.sampling).engine(hold, changed, shared=run), hold

        for work in later:  # so that what cannot be asked, such as a model without a price, is refused now
            work.engine(sink, changed, shared=run)
        hold = Hold(sink, 0, None, before, last=False)
        engine = first.engine(hold, changed, shared=run)
        first.check_missing()
        chain = Chain(engine, hold, after=after, books=self._books(run), models=len(self.works))
        return chain, progress

    def ending(self, engine: Runner, seconds: float, *, interrupted: bool) -> Ending:
        """Return how the run came to its end."""
        chain = cast("Chain", engine)
        lives = [one.live for one in chain.engines]
        stopped = lives[-1].stopped if lives[-1] is not None else None
        frame = self.works[0].columns.frame(self.works[0].given)
        parts = []
        for number, work in enumerate(self.works):
            live = lives[number] if number < len(lives) else None
            parts.append(
                work.ended(
                    frame,
                    seconds,
                    stopped=live.stopped if live is not None else None,
                    began=live is not None and live.succeeded,
                    interrupted=interrupted,
                )
            )
        ending = self._ending(parts, stopped)
        if not interrupted and stopped is None:
            for work in self.works:
                work.refreshed(ending.tally.errors)
        return ending

    def conclude(self, ending: Ending) -> pd.DataFrame:
        """Return the frame, or raise what the ending and `on_error` call for; there is one warning.

        Raises:
            KeyboardInterrupt: the run was interrupted.
            RunStopped: all models were stopped before any succeeded, or `on_error` asks for an exception.
            StoreError: the store failed before anything succeeded.
        """
        if ending.interrupted:
            raise interruption(ending, saved=ending.parts[0].saved)
        first = ending.parts[0]
        if ending.stopped is not None and not ending.began:
            _raise_stop(self.works[0], first.stopped or ending.stopped, ending)
        for work in self.works:
            work.remark()
        said = failure_text(ending)
        given_up = [part for part in ending.parts[:-1] if part.stopped is not None]
        notes = [f"{part.model} was stopped: {part.stopped}; the rest was asked of the next." for part in given_up]
        if (said or notes) and any(part.tally.ok for part in ending.parts[1:]):
            notes.append(f"Answered by {answered_by(ending)}.")
        if not said and notes:
            warn(" ".join(notes), ModelWarning)
        return concluded_by(self.works[0].on_error, ending, " ".join([said, *notes]) if said else "")


def _left(work: Work, places: Sequence[int], sampling: Sampling | None) -> Work:
    """Return the work of asking a model for some places of a call, each of them a row of its own.

    Args:
        work: the model's work on the whole frame.
        places: the places.
        sampling: what has numbered them; None where they have no numbers.
    """
    order = work.order
    left = Work(work.frame.iloc[[place // order.each for place in places]], work.prompt, work.options)
    numbered = None if sampling is None else Numbered([sampling.number(place) for place in places])
    left.order = replace(left.order, rows=len(places), since=order.since, others=order.others, sampling=numbered)
    left.tally, left.off = work.tally, work.off
    return left


def answered_by(ending: Ending) -> str:
    """Return how many rows each model answered."""
    return ", ".join(f"{part.model} {part.tally.ok:,}" for part in ending.parts if part.tally.ok)


def _raise_stop(work: Work, stopped: Failure, ending: Ending) -> None:
    if stopped.type == "StoreError":
        raise StoreError(stopped.reason)
    if (kind := STOPS.get(stopped.type)) is not None:
        raise kind(work.explained(stopped), frame=ending.frame, failure=stopped)
