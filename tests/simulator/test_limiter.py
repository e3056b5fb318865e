"""Limits hold in every window of their kind, and who waits as told is let in."""

import copy
import math
from collections import deque
from fractions import Fraction
from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm.simulator.limiter import KINDS, Limiter, RateLimits

#: What a client does: wait some quarters of a second, then ask for so many tokens, or settle the oldest reserve.
STEPS = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 2, 40, 239, 240, 241]), st.integers(0, 40), st.booleans()), max_size=60
)
LIMITS = st.builds(
    RateLimits,
    rpm=st.sampled_from([None, 1, 2, 7, 60]),
    tpm=st.sampled_from([None, 10, 36, 300]),
    kind=st.sampled_from(KINDS),
    depth_seconds=st.sampled_from([1, 10, 60]),
    refused_count=st.booleans(),
)


class Clock:
    """A clock that is told the time."""

    def __init__(self):
        self.now = 1.0

    def __call__(self):
        return self.now


def limiter_of(**options):
    """Return a limiter and its clock."""
    clock = Clock()
    return Limiter(RateLimits(**options), clock, wall=lambda: 1_767_225_600 + clock.now), clock


def crowd(limiter, tokens=10):
    """Ask until somebody is refused; return how many were let in."""
    return next(count for count in range(10_000) if not limiter.enter(tokens).admitted)


class Exact:
    """The same limiter, written down as plainly as can be, in exact numbers and without forgetting anything."""

    def __init__(self, limits):
        self.limits = limits
        self.taken = []  # [time, requests, tokens], refused ones too
        self.reserves = {}
        depth = limits.depth_seconds if limits.kind == "shallow" else 60
        self.depth = [max(Fraction(limit * depth, 60), 1) if limit else None for limit in (limits.rpm, limits.tpm)]
        self.level = list(self.depth)
        self.filled_at = Fraction(1)

    def enter(self, tokens, now):
        """Tell whether a request is let in."""
        needs, limits = (1, tokens), (self.limits.rpm, self.limits.tpm)
        kinds = [kind for kind in (0, 1) if limits[kind]]
        self.fill(now)
        if self.limits.kind in ("bucket", "shallow"):
            fits = all(
                needs[kind] <= limits[kind] and self.level[kind] >= min(needs[kind], self.depth[kind]) for kind in kinds
            )
        else:
            fits = all(self.counted(kind, now) + needs[kind] <= limits[kind] for kind in kinds)
        if fits:
            entry = [now, 1, tokens]
            self.reserves.setdefault(tokens, deque()).append(entry)
            self.taken.append(entry)
            for kind in kinds:
                self.level[kind] -= needs[kind]
        elif self.limits.refused_count:
            self.taken.append([now, 1, 0])
            if limits[0]:
                self.level[0] = min(self.level[0], max(0, self.level[0] - 1))
        return fits

    def settle(self, reserved, used, now):
        """Give back what was not used."""
        self.fill(now)
        self.reserves[reserved].popleft()[2] += used - reserved
        if self.limits.tpm:
            self.level[1] = min(self.depth[1], self.level[1] + reserved - used)

    def counted(self, kind, now):
        """Return what counts now."""
        if self.limits.kind == "sliding":
            return sum(entry[1 + kind] for entry in self.taken if entry[0] > now - 60)
        return sum(entry[1 + kind] for entry in self.taken if (entry[0] - 1) // 60 == (now - 1) // 60)

    def fill(self, now):
        """Fill the buckets."""
        for kind, limit in ((0, self.limits.rpm), (1, self.limits.tpm)):
            if limit:
                flow = (now - self.filled_at) * Fraction(limit, 60)
                self.level[kind] = min(self.depth[kind], self.level[kind] + flow)
        self.filled_at = now


@given(LIMITS, STEPS)
def test_it_decides_as_an_exact_count_does(limits, steps):
    """Request by request the decision is that of a model in exact numbers, settled reserves and refusals included."""
    clock, quarters, reserves = Clock(), 4, deque()
    limiter, exact = Limiter(limits, clock), Exact(limits)

    for wait, tokens, settles in steps:
        quarters += wait
        clock.now = quarters / 4
        if settles and reserves:
            reserved = reserves.popleft()
            used = min(tokens, reserved)
            limiter.settle(reserved, used)
            exact.settle(reserved, used, Fraction(quarters, 4))
        wanted = exact.enter(tokens, Fraction(quarters, 4))
        assert wanted == limiter.enter(tokens).admitted
        if wanted:
            reserves.append(tokens)


@given(LIMITS, STEPS)
def test_no_window_has_more_than_the_limit(limits, steps):
    """In each window of its kind there is at most the limit; of a bucket, its depth and what flows in meanwhile."""
    clock, let_in = Clock(), []
    limiter = Limiter(limits, clock)
    for wait, tokens, _ in steps:
        clock.now += wait / 4
        if limiter.enter(tokens).admitted:
            let_in.append((clock.now, 1, tokens))

    for kind, limit in ((1, limits.rpm), (2, limits.tpm)):
        depth = limits.depth_seconds if limits.kind == "shallow" else 60
        for first, last in combinations_with_replacement(sorted({one[0] for one in let_in}) if limit else [], 2):
            inside = [one[kind] for one in let_in if first <= one[0] <= last]
            if limits.kind in ("bucket", "shallow"):
                assert sum(inside) <= max(limit * depth / 60, *inside, 1) + limit * (last - first) / 60 + 1e-6
            elif limits.kind == "sliding":
                assert sum(inside) <= limit or last - first >= 60
            else:
                assert sum(inside) <= limit or (first - 1) // 60 != (last - 1) // 60


@given(LIMITS, STEPS)
def test_remaining_is_never_negative_and_never_over_the_limit(limits, steps):
    """The headers stay between nothing and the limit, whatever was refused or given back."""
    clock, reserves = Clock(), deque()
    limiter = Limiter(limits, clock)

    for wait, tokens, settles in steps:
        clock.now += wait / 4
        if settles and reserves:
            limiter.settle(reserves.popleft(), 0)
        verdict = limiter.enter(tokens)
        if verdict.admitted:
            reserves.append(tokens)
        for which, limit in (("requests", limits.rpm), ("tokens", limits.tpm)):
            assert limit is None or 0 <= int(verdict.headers[f"x-ratelimit-remaining-{which}"]) <= limit


@given(LIMITS, STEPS)
def test_who_waits_as_told_is_let_in(limits, steps):
    """A refusal names the time after which the same request is let in, and no shorter one does."""
    clock = Clock()
    limiter = Limiter(limits, clock)
    for wait, tokens, _ in steps:
        clock.now += wait / 4
        verdict = limiter.enter(tokens)
    verdict = limiter.enter(5)

    if verdict.admitted:
        assert (0, None) == (verdict.retry_after_seconds, verdict.which)
        return
    told = verdict.retry_after_seconds
    hasty, early = copy.deepcopy((limiter, clock))
    early.now += 0.99 * told
    clock.now += told
    assert 0 < told <= 60
    assert (False, True) == (hasty.enter(5).admitted, limiter.enter(5).admitted)


@pytest.mark.parametrize(
    ("kind", "at_once", "after_half", "after_all"),
    [("bucket", 120, 60, 120), ("shallow", 20, 20, 20), ("sliding", 120, 0, 120), ("minute", 120, 0, 120)],
)
def test_kinds_differ_in_what_comes_back_when(kind, at_once, after_half, after_all):
    """Who takes all at once gets back as much as the kind allows, after half a minute and after another whole one."""
    limiter, clock = limiter_of(rpm=120, kind=kind, refused_count=False)

    got = [crowd(limiter)]
    clock.now += 30
    got.append(crowd(limiter))
    clock.now += 60
    got.append(crowd(limiter))

    assert [at_once, after_half, after_all] == got


def test_minutes_are_fixed():
    """Twice the limit goes through around the turn of a minute, as it does where minutes are counted."""
    limiter, clock = limiter_of(rpm=120, kind="minute")
    clock.now += 59.9
    before = crowd(limiter)
    clock.now += 0.1

    assert (120, 120) == (before, crowd(limiter))


@pytest.mark.parametrize("kind", ["sliding", "minute"])
def test_sixty_seconds_are_sixty_seconds(kind):
    """What was taken counts until the moment its minute is over, and no longer."""
    limiter, clock = limiter_of(rpm=1, kind=kind, refused_count=False)
    limiter.enter(1)
    clock.now += 59.999
    before = limiter.enter(1).admitted
    clock.now += 0.001

    assert (False, True) == (before, limiter.enter(1).admitted)


@pytest.mark.parametrize(("refused_count", "later"), [(True, False), (False, True)])
@pytest.mark.parametrize(("kind", "step"), [("bucket", 0.4), ("shallow", 0.4), ("sliding", 29)])
def test_refused_requests_count(kind, step, refused_count, later):
    """Who goes on asking stays out where refusals count, and gets in where they do not."""
    limiter, clock = limiter_of(rpm=120 if kind != "sliding" else 1, kind=kind, refused_count=refused_count)
    crowd(limiter)

    admitted = []
    for _ in range(4):
        clock.now += step
        admitted.append(limiter.enter(1).admitted)

    assert later == any(admitted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_storm_passes(kind):
    """However many were refused, a minute of silence is enough."""
    limiter, clock = limiter_of(rpm=10, tpm=1_000, kind=kind, depth_seconds=1)
    for _ in range(5_000):
        limiter.enter(100)
    clock.now += 60

    assert limiter.enter(100).admitted


def test_tokens_are_reserved_and_given_back():
    """What an answer did not need is there for the next, in full."""
    limiter, _ = limiter_of(tpm=1_000)
    limiter.enter(900)

    assert not limiter.enter(200).admitted
    limiter.settle(900, 100)
    assert limiter.enter(900).admitted


@pytest.mark.parametrize("kind", ["sliding", "minute"])
def test_what_comes_back_late_does_not_count_twice(kind):
    """A reserve that is settled when it is forgotten already gives nothing more."""
    limiter, clock = limiter_of(tpm=1_000, kind=kind)
    limiter.enter(1_000)
    clock.now += 60
    limiter.settle(1_000, 0)

    assert 10 == crowd(limiter, 100)


def test_larger_than_the_limit_is_never_let_in():
    """A request over the whole limit is refused without a time to come back."""
    limiter, _ = limiter_of(rpm=60, tpm=1_000)

    verdict = limiter.enter(1_001)

    assert (False, "tokens", math.inf) == (verdict.admitted, verdict.which, verdict.retry_after_seconds)
    assert not {"retry-after", "retry-after-ms"} & verdict.headers.keys()
    assert (1_000, 0, 1_001) == (verdict.limit, verdict.used, verdict.requested)


def test_larger_than_a_shallow_bucket_is_let_in_when_it_is_full():
    """A second's depth holds 100 tokens; a request for 500 goes through, and the next waits for the debt too."""
    limiter, clock = limiter_of(tpm=6_000, kind="shallow", depth_seconds=1)

    assert limiter.enter(500).admitted
    verdict = limiter.enter(100)

    assert (False, 5.0) == (verdict.admitted, verdict.retry_after_seconds)
    clock.now += 5
    assert limiter.enter(100).admitted


def test_the_longest_wait_is_named():
    """Of two limits in the way, the one that takes longer is told."""
    limiter, _ = limiter_of(rpm=60, tpm=6_000)
    limiter.enter(6_000)
    for _ in range(59):
        limiter.enter(0)

    verdict = limiter.enter(3_000)

    assert ("tokens", 30.0) == (verdict.which, verdict.retry_after_seconds)


def test_openai_headers_are_openais():
    """Amounts are whole, times are Go's and say when the limit is full again, and waits come in two units."""
    limiter, _ = limiter_of(rpm=3, tpm=90_000)

    first, second = limiter.enter(1_500).headers, None
    for _ in range(3):
        second = limiter.enter(0).headers

    assert {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "20s",
        "x-ratelimit-limit-tokens": "90000",
        "x-ratelimit-remaining-tokens": "88500",
        "x-ratelimit-reset-tokens": "1s",
    } == first
    assert ("20", "20000", "1m0s") == (
        second["retry-after"],
        second["retry-after-ms"],
        second["x-ratelimit-reset-requests"],
    )


def test_anthropic_headers_are_anthropics():
    """Times are dates in UTC, tokens are rounded to thousands, and a wait comes in whole seconds."""
    limiter, _ = limiter_of(rpm=60, tpm=90_000, headers="anthropic")
    limiter.enter(88_400)

    headers = limiter.enter(2_000).headers

    assert {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "58",
        "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:03Z",
        "anthropic-ratelimit-tokens-limit": "90000",
        "anthropic-ratelimit-tokens-remaining": "2000",
        "anthropic-ratelimit-tokens-reset": "2026-01-01T00:01:00Z",
        "retry-after": "1",
    } == headers


def test_some_say_nothing():
    """Without headers a refusal is only a refusal."""
    limiter, _ = limiter_of(rpm=1, headers="none")

    assert [{}, {}] == [limiter.enter(1).headers, limiter.enter(1).headers]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rpm": 0}, "rpm is a number from 1 up"),
        ({"tpm": float("nan")}, "tpm is a number from 1 up"),
        ({"depth_seconds": 0}, "depth_seconds is above 0"),
        ({"kind": "leaky"}, "There are bucket, shallow, sliding, minute"),
        ({"headers": "google"}, "There are openai, anthropic, none"),
    ],
)
def test_nonsense_is_refused(options, said):
    """Limits that mean nothing are refused, with what there is."""
    with pytest.raises(ValueError, match=said):
        RateLimits(**options)
