"""A schedule played in a world: runs begin, end, are interrupted and killed, and what each row was told is noted."""

import asyncio
import contextvars
import copy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import NamedTuple

import pandas as pd
from tests.chaos.process import PROCESS, RUN
from tests.chaos.schedules import Act

import dfllm
from dfllm._core.keys import keyer
from dfllm._core.types import Failure, Message
from dfllm._run.desk import Block
from dfllm._run.settings import current
from dfllm._run.tally import Tally
from dfllm._work import Options, Work
from dfllm.simulator import InProcess, Manners

PROMPT = "row {{ n }}."
LABELS = ["positive", "negative", "neutral"]
#: Whoever has not ended by then never will: a provider may ask for 15 minutes, and patience is 2 hours.
FOR_EVER = 2 * 86_400.0


class Told(NamedTuple):
    """What a row was told.

    Attributes:
        answer: the text, or None.
        error: the error column's text, or None.
        kind: the failure's type, or None.
        source: where it came from, where that is known.
    """

    answer: str | None
    error: str | None
    kind: str | None
    source: str | None = None

    def __str__(self) -> str:
        return f"{self.answer!r} {self.error!r} {self.source}"


@dataclass
class Run:
    """One run, with all that is known of it afterwards.

    Attributes:
        name: told from all others of the story.
        act: what it is part of.
        process: where it runs.
        began: when.
        ended: when; None if it never did.
        interrupted: when it was told to stop; None if it was not.
        abandoned: when it was told so again.
        told: by row.
        told_twice: rows that were told more than once.
        raised: what it raised.
        facts: the tally's numbers.
        stopped: what stopped it.
        task: what runs it.
    """

    name: str
    act: Act
    process: object
    began: float
    ended: float | None = None
    interrupted: float | None = None
    abandoned: float | None = None
    told: dict[int, Told] = field(default_factory=dict)
    told_twice: list[int] = field(default_factory=list)
    raised: BaseException | None = None
    facts: dict[str, int] = field(default_factory=dict)
    stopped: Failure | None = None
    task: asyncio.Task | None = None

    @property
    def killed(self) -> bool:
        """Whether its process died before it ended."""
        return self.ended is None

    def fill(self, start, settled):
        """Take a window's outcomes."""
        for position, one in enumerate(settled, start):
            if one is not None:
                self._take(position, one)

    def put(self, positions, settled):
        """Take one outcome that came later."""
        for position in positions:
            self._take(position, settled)

    def _take(self, position, settled):
        if self.process.dead:
            return
        if position in self.told:
            self.told_twice.append(position)
        outcome = settled.outcome
        if isinstance(outcome, Failure):
            partial = outcome.response.text or None if outcome.type == "Truncated" and outcome.response else None
            told = Told(partial, str(outcome), outcome.type, settled.source)
        else:
            told = Told(outcome.text, None, None, settled.source)
        self.told[position] = told
        self.process.world.note(self.name, self.text(position), "told", told)

    def text(self, position):
        """Return a row's question."""
        value = self.act.values[position]
        return "" if value is None else f"row {value}."


class Story:
    """A schedule being played.

    Args:
        schedule: what is to happen.
        key: the user's key, which must be seen nowhere.

    Attributes:
        runs: all runs there were, in order.
        world: where it happened.
        healed: the number of the first run in better times.
    """

    def __init__(self, schedule, key):
        self.schedule = schedule
        self.key = key
        self.runs = []
        self.world = None
        self.healed = None

    async def play(self, world):
        """Play it to its end, then see that all is asked in better times, and nothing after that."""
        self.world = world
        schedule = self.schedule
        manners = schedule.manners
        right = None if schedule.model.startswith("simulator/") else self.key  # which takes no key
        manners.key = right if schedule.has_key else "another key"
        world.provider = InProcess(manners, world.bill)
        world.echoes = schedule.echoes
        process = None
        for act in schedule.acts:
            if process is None or process.dead or act.restarts:
                self._close(process)
                process = world.new_process()
            await self._act(act, process)
        self._close(process)
        world.provider = InProcess(Manners(latency_seconds=1.0, limits=manners.limits, key=right), world.bill)
        world.note("", "", "healed")
        process = world.new_process()
        values = tuple(dict.fromkeys(value for act in schedule.acts for value in act.values))
        self.healed = len(self.runs)
        for _ in range(2):
            await self._act(Act(values), process)
        self._close(process)

    def _close(self, process):
        if process is not None:
            process.close()

    async def _act(self, act, process):
        loop = asyncio.get_running_loop()
        first = self._begin(act, process)
        runs, others = [first], []
        if act.company != "nobody":
            if act.company == "process":
                others.append(self.world.new_process())
            runs.append(self._begin(act, (others or [process])[0]))
        timers = []
        if act.ending == "commit":
            process.dies_at, process.dies_after = process.commits + int(act.at), act.after
        elif act.ending == "kill":
            timers.append(loop.call_later(act.at, process.kill))
        elif act.ending in ("interrupt", "abandon"):
            timers.append(loop.call_later(act.at, self._interrupt, first))
            if act.ending == "abandon":
                timers.append(loop.call_later(act.at + act.again, self._abandon, first))
        await asyncio.gather(*(self._end(run) for run in runs))
        for timer in timers:
            timer.cancel()
        process.dies_at = None
        for other in others:
            other.close()

    def _begin(self, act, process):
        run = Run(f"p{process.pid}.{len(self.runs)}", act, process, self.world.loop.now)
        self.runs.append(run)
        self.world.note(run.name, "", "began", f"{act.door} {act.cache} {len(act.values)} rows")
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        context.run(RUN.set, run.name)
        start = self._frame if act.door == "frame" else self._engine
        run.task = context.run(lambda: self.world.loop.create_task(start(run)))
        return run

    async def _end(self, run):
        died = self.world.loop.create_task(run.process.died.wait())
        done, _ = await asyncio.wait({run.task, died}, timeout=FOR_EVER, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if run.task in done and not run.process.dead:
            run.ended = self.world.loop.now
            run.raised = asyncio.CancelledError() if run.task.cancelled() else run.task.exception()
            self.world.note(run.name, "", "ended", type(run.raised).__name__ if run.raised else None)
        elif not run.process.dead:
            raise TimeoutError(f"{run.name} hangs")

    def _interrupt(self, run):
        run.interrupted = self.world.loop.now
        self.world.note(run.name, "", "interrupted")
        run.task.cancel() if run.act.door == "frame" else run.engine.interrupt()

    def _abandon(self, run):
        run.abandoned = self.world.loop.now
        self.world.note(run.name, "", "abandoned")
        run.task.cancel() if run.act.door == "frame" else run.engine.abandon()

    def _settings(self):
        schedule = self.schedule
        return dfllm.options(
            store=self.world.path,
            timeout=schedule.timeout,
            resend_ambiguous=schedule.resend_ambiguous,
            patience=schedule.patience if self.healed is None else 7_200.0,
            limits=dfllm.Limits(concurrency=schedule.concurrency),
            progress=False,
        )

    async def _engine(self, run):
        work = self._work(run)
        run.engine, progress = work.ready(lambda asked: run)
        try:
            await run.engine.run()
        finally:
            progress.close()
            run.stopped = run.engine.live.stopped if run.engine.live is not None else None
            run.facts = {name: getattr(work.tally, name) for name in ("rows", "ok", "failed", "skipped", "requests")}

    def _work(self, run):
        """Return what a door would hand to the engine, at less cost: templates and frames take most of the time."""
        schedule, values = self.schedule, run.act.values
        work = copy.copy(_template(schedule.model, labels=schedule.labels))
        with self._settings():
            work.settings = current()
        run.process.runtime.store(work.settings)
        work.tally = Tally(len(values))
        work.order = replace(
            work.order,
            rows=len(values),
            cells=lambda start, stop: Block([list(values[start:stop])], {}),
            cache=run.act.cache,
            stop_at_failure=run.act.stops,
        )
        key_of = keyer(work.order.terms)
        for position in range(len(values)):
            text = run.text(position)
            self.world.keys[key_of((Message("user", text),))] = text
        return work

    async def _frame(self, run):
        values = run.act.values
        index = [number // 2 for number in range(len(values))]  # not unique
        frame = pd.DataFrame({"n": pd.Series(values, dtype=object).to_numpy()}, index=index)
        with self._settings():
            self._work(run)  # which knows the keys
            on_error = "stop" if run.act.stops else "keep"
            call = frame.llm.acomplete(PROMPT, model=self.schedule.model, cache=run.act.cache, on_error=on_error)
            try:
                done = await call
            except dfllm.DfllmError as error:
                done = error.frame
            except asyncio.CancelledError:
                if run.act.company != "nobody":
                    raise
                done = dfllm.last_run().frame
        assert index == list(done.index)
        assert [*values] == [None if pd.isna(value) else value for value in done["n"]]
        for position, (answer, error) in enumerate(zip(done["completion"], done["completion_error"], strict=True)):
            kind = None if pd.isna(error) else error.partition(":")[0]
            run.told[position] = Told(None if pd.isna(answer) else answer, None if pd.isna(error) else error, kind)


@cache
def _template(model, *, labels):
    frame = pd.DataFrame({"n": pd.Series([1], dtype=object)})
    return Work(frame, PROMPT, Options(model=model, schema=LABELS) if labels else Options(model=model))
