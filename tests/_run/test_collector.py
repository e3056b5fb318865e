"""The collector has room while a run lasts, and its old threshold afterwards."""

from __future__ import annotations

import gc

import pytest

from dfllm._run.collector import room_for


@pytest.fixture(autouse=True)
def usual():
    """Start with Python's usual threshold and leave things as they were."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_room_grows_with_what_is_in_flight_and_goes():
    """A hundred objects a request, then as before."""
    with room_for(1_000):
        during = gc.get_threshold()

    assert (100_000, 10, 10) == during
    assert (700, 10, 10) == gc.get_threshold()


def test_a_few_in_flight_change_nothing():
    """The usual threshold is enough for them."""
    with room_for(5):
        assert (700, 10, 10) == gc.get_threshold()


def test_runs_at_once_share_the_largest_room():
    """Whichever ends first."""
    first, second = room_for(100), room_for(1_000)
    first.__enter__()
    second.__enter__()
    both = gc.get_threshold()[0]
    second.__exit__(None, None, None)
    one = gc.get_threshold()[0]
    first.__exit__(None, None, None)

    assert [100_000, 10_000, 700] == [both, one, gc.get_threshold()[0]]


def test_a_collector_that_is_off_stays_off():
    """Whoever set it to 0 meant it."""
    gc.set_threshold(0, 10, 10)
    with room_for(1_000):
        assert 0 == gc.get_threshold()[0]


def test_room_goes_after_an_exception_too():
    """A run that fails leaves nothing behind."""
    with pytest.raises(ZeroDivisionError), room_for(1_000):
        raise ZeroDivisionError

    assert (700, 10, 10) == gc.get_threshold()
