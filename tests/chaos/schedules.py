"""Random schedules: what a provider, a user and fate may do to a frame, drawn from a seed and nothing else."""

import math
import random
from dataclasses import dataclass, field

from dfllm.simulator import FAULTS, Faults, Manners, Outage, RateLimits

#: What may go wrong with a request, by how often a bad day has it. All names are the simulator's.
OFTEN = (
    *("rate429", "ra_date", "ra_skew", "ra_past", "ra_junk", "ra_negative", "ra_nan", "gemini429"),
    *("408", "409", "500", "502", "503", "504", "529", "5xx", "slowdown", "html", "xsr_false", "xsr_true"),
    *("drop_before", "drop_before_billed", "drop_mid", "reset_mid", "chunk_cut", "stall", "drip", "stale", "frame"),
    *("html200", "err200", "failed200", "trunc_json", "empty", "nochoices", "blank", "sse_err"),
    *("refusal", "filter", "length", "think_out", "prose", "fenced", "badshape", "weirdjson", "fncall"),
    *("nousage", "othermodel", "surrogate", "xss", "ctx", "policy400", "413"),
)
#: What ends a run, and is drawn seldom, or nothing else would be seen.
SELDOM = (
    *("day429", "gemini_day429", "ra_huge", "quota", "quota402", "credit400", "400", "401", "403", "404", "redirect"),
)
#: What all requests meet in an outage.
OUTAGES = ("503", "529", "500", "html", "refuse", "dns", "stall", "drop_before", "rate429", "401", "slowdown")
MODELS = ("simulator/echo", "openai/echo", "lab/echo")


@dataclass(frozen=True, slots=True)
class Act:
    """A part of a schedule: one run or two, and how it ends.

    Attributes:
        values: the frame's rows.
        company: who else asks the same at the same time: nobody, another run of the process, or another process.
        door: the engine's or the frame's own.
        cache: what the store is used for.
        ending: how the run ends: by itself, interrupted, interrupted twice, its process killed, or killed in a commit.
        at: when that is, in seconds from the start of the act, or in which commit.
        again: seconds between the two interrupts.
        after: whether the commit in which it is killed reaches the disk.
        restarts: whether the act begins with a new process.
        stops: whether the first failed row ends the run.
    """

    values: tuple[int | None, ...]
    company: str = "nobody"
    door: str = "engine"
    cache: str = "use"
    ending: str = "itself"
    at: float = 0.0
    again: float = 0.0
    after: bool = False
    restarts: bool = True
    stops: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """All that is decided beforehand.

    Attributes:
        seed: what it was drawn from.
        model: provider and model.
        manners: how the provider behaves.
        concurrency: the user's ceiling; None for none.
        timeout: seconds an answer may take.
        resend_ambiguous: how often a request is sent again that may have been billed.
        patience: seconds to go on waiting.
        has_key: whether the user's key is the right one.
        echoes: whether errors repeat the request's headers, as some gateways do.
        labels: whether labels are asked for, and not text.
        window: how many rows are prepared and claimed at once.
        acts: what happens, in order.
    """

    seed: str
    model: str
    manners: Manners
    concurrency: int
    timeout: float
    resend_ambiguous: int
    patience: float
    has_key: bool
    echoes: bool
    labels: bool
    window: int = 250
    acts: tuple[Act, ...] = field(default=())


def draw(seed: str) -> Schedule:
    """Return the schedule of a seed."""
    dice = random.Random(seed)
    values = _values(dice)
    timeout = dice.choice([5.0, 60.0, 600.0])
    model = dice.choice(MODELS)
    labels = model == "lab/echo" and dice.random() < 0.7
    return Schedule(
        seed=seed,
        model="lab/small" if labels else model,
        manners=_manners(dice, timeout),
        concurrency=dice.choice([1, 2, 5, 20, 100]),
        timeout=timeout,
        resend_ambiguous=dice.choice([1, 1, 0]),
        patience=dice.choice([30.0, 600.0, 7200.0]),
        has_key=dice.random() < 0.97,
        echoes=dice.random() < 0.1,
        labels=labels,
        window=dice.choice([7, 250]),
        acts=tuple(_act(dice, values, labels=labels) for _ in range(dice.choice([1, 1, 2, 3]))),
    )


def _values(dice: random.Random) -> tuple[int | None, ...]:
    rows = round(math.exp(dice.uniform(math.log(3), math.log(120))))
    distinct = max(1, round(rows * dice.uniform(0.3, 1.0)))
    return tuple(None if dice.random() < 0.03 else dice.randrange(distinct) for _ in range(rows))


def _manners(dice: random.Random, timeout: float) -> Manners:
    names = [dice.choice(OFTEN) for _ in range(dice.choice([0, 1, 2, 4, 8]))]
    names += [dice.choice(SELDOM) for _ in range(dice.random() < 0.1)]
    # As many as are drawn twice; what is left of 1 goes well.
    share = dice.uniform(0.02, 0.7) / max(1, len(names))
    rates: dict[str, float] = {}
    for name in names:
        assert name in FAULTS
        rates[name] = rates.get(name, 0.0) + share * (0.1 if name in SELDOM else 1.0)
    attempts = dice.choice([1, 1, 2, 3, 1 << 30])
    faults = Faults(
        rates=rates,
        attempts=attempts,
        seed=dice.randrange(1 << 30),
        # Who is told for ever to come back at once does so, which is dull to watch.
        retry_after_seconds=dice.choice([0.05, 2.0, 30.0, 600.0] if attempts < 10 else [30.0, 600.0]),
        stall_seconds=timeout * dice.choice([0.3, 2.0]),
    )
    outages = []
    for _ in range(dice.choice([0, 0, 0, 1, 2])):
        start = math.exp(dice.uniform(math.log(0.1), math.log(300.0))) - 0.1
        outages.append(Outage(start, start + math.exp(dice.uniform(math.log(5), math.log(3600))), dice.choice(OUTAGES)))
    limits = None
    if dice.random() < 0.4:
        limits = RateLimits(
            rpm=dice.choice([None, 30, 120, 1_000]),
            tpm=dice.choice([None, 2_000, 50_000]),
            kind=dice.choice(["bucket", "shallow", "sliding", "minute"]),
            depth_seconds=dice.choice([1, 10]),
            refused_count=dice.random() < 0.5,
            headers=dice.choice(["openai", "anthropic", "none"]),
        )
    return Manners(
        latency_seconds=dice.choice([0.01, 0.3, 2.0, 15.0]),
        latency_spread=dice.random(),
        faults=faults,
        outages=outages,
        limits=limits,
    )


def _act(dice: random.Random, values: tuple[int | None, ...], *, labels: bool) -> Act:
    ending = dice.choice(["itself"] * 5 + ["interrupt", "abandon", "kill", "commit"])
    some = dice.random() < 0.3
    return Act(
        values=tuple(dice.sample(values, dice.randint(1, len(values)))) if some else values,
        company=dice.choice(["nobody"] * 5 + ["run", "process"]),
        door="frame" if not labels and ending != "commit" and dice.random() < 0.1 else "engine",
        cache=dice.choice(["use"] * 8 + ["retry", "only"]),
        ending=ending,
        at=float(dice.randint(1, 30)) if ending == "commit" else math.exp(dice.uniform(math.log(0.001), math.log(200))),
        again=dice.choice([0.001, 0.3, 5.0, 20.0]),
        after=dice.random() < 0.5,
        restarts=dice.random() < 0.5,
        stops=dice.random() < 0.05,
    )
