"""Health: the provider's trouble is told from the rows', and retries are rationed."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.health import Health, Pause, is_trouble
from dfllm._core.types import Failure

OOPS = Failure("ServerError", "oops", "free", status=500)
LATE = Failure("Timeout", "30 s", "maybe")
BAD = Failure("BadRequest", "no", "free", status=400)


def heard(*failures, rows=None):
    """Return the health of a run that has heard these, each of another row or of so many in turn."""
    health = Health()
    for number, failure in enumerate(failures):
        health.heard((number % (rows or len(failures))).to_bytes(20, "big"), failure, first=rows is None)
    return health


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ServerError", True),
        ("Overloaded", True),
        ("ConnectFailed", True),
        ("ConnectionLost", True),
        ("Timeout", True),
        ("RateLimited", False),
        ("BadRequest", False),
        ("InvalidOutput", False),
        ("AuthFailed", False),
    ],
)
def test_trouble_is_the_providers_own(kind, expected):
    """What another request would meet as well."""
    assert expected == is_trouble(Failure(kind, "so it says"))


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([OOPS] * 9, False),
        ([OOPS] * 10, True),
        ([*[OOPS] * 9, None], False),
        ([*[OOPS] * 9, BAD, OOPS], False),
        ([None, OOPS] * 50, False),
        ([*[None, OOPS] * 49, OOPS, OOPS, OOPS], True),
        ([BAD] * 100, False),
    ],
    ids=["9 running", "10 running", "an answer between", "a bad row between", "half", "over half", "bad rows"],
)
def test_a_provider_is_down_when_most_rows_are_in_trouble(failures, expected):
    """More than half of the last hundred, or ten running; rows that are wrong themselves do not count."""
    assert expected == heard(*failures).is_down(used_up=False)


@pytest.mark.parametrize(("rows", "expected"), [(1, False), (2, False), (3, True)])
def test_a_row_that_always_fails_is_no_outage(rows, expected):
    """However often one or two are tried; but where three fail and nothing succeeds, nobody's last try is the last."""
    health = heard(*[OOPS] * 50, rows=rows)

    assert (False, expected) == (health.is_down(used_up=False), health.is_down(used_up=True))


def test_only_the_last_hundred_count():
    """Old trouble is forgotten, and a recovery forgets all of it."""
    before = heard(*[OOPS, None] * 50, OOPS, OOPS, None, None)
    calm = heard(*[OOPS] * 60, *[None] * 100)
    health = heard(*[None] * 100, *[OOPS] * 60)
    down = health.is_down(used_up=False)
    health.recover()

    assert (False, False) == (before.is_down(used_up=False), calm.is_down(used_up=False))
    assert (True, False) == (down, health.is_down(used_up=True))


@given(st.lists(st.booleans(), max_size=400))
def test_the_count_is_that_of_a_window(troubled):
    """However it went, the running count is what counting anew would give."""
    health = heard(*(OOPS if one else None for one in troubled))

    last = troubled[-100:]
    running = next((place for place, one in enumerate(reversed(troubled)) if not one), len(troubled))
    expected = (len(last) == 100 and sum(last) > 50) or running >= 10
    assert expected == health.is_down(used_up=False)


def test_many_timeouts_are_told_once_in_two_hundred():
    """One in twenty of the last two hundred; then counting begins anew."""
    health, other = Health(), Health()
    told = [health.heard(b"k" * 20, LATE if number % 10 == 0 else None, first=True) for number in range(400)]
    calm = [other.heard(b"k" * 20, LATE if number % 40 == 0 else None, first=True) for number in range(800)]

    assert 2 <= sum(told) <= 4
    assert 0 == sum(calm)


@pytest.mark.parametrize(("requests", "expected"), [(0, 20), (100, 30), (10_000, 1_020)])
def test_retries_are_rationed(requests, expected):
    """Twenty and a tenth of the requests, however long it goes wrong."""
    health = Health()
    health.requests = requests

    assert expected == sum(health.may_retry() for _ in range(3 * expected))


def waits(pause, clock):
    """Yield a pause's waits, the clock going on with each."""
    while (wait := pause.next_wait(clock[0], 7200.0)) is not None:
        clock[0] += wait
        yield wait


def test_probes_get_rarer_up_to_five_minutes():
    """They double from a second on, and end with the patience."""
    clock = [100.0]
    first = list(islice(waits(Pause(OOPS, 100.0), clock), 11))
    clock = [100.0]
    everything = list(waits(Pause(OOPS, 100.0), clock))

    assert [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] == first
    assert 7200.0 == sum(everything)
    assert len(everything) < 40


def test_a_refused_key_is_tried_three_times():
    """Gateways refuse good keys in outages of their own, but not for long."""
    assert [5, 30, 120] == list(waits(Pause(Failure("AuthFailed", "key rejected"), 0.0), [0.0]))
