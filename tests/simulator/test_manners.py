"""Outages come and go by the clock, and nonsense is refused."""

import math

import pytest

from dfllm.simulator import Manners, Outage

OUTAGES = [Outage(10, 20, "503"), Outage(15, 30, "401"), Outage(3600, math.inf, "refuse")]


@pytest.mark.parametrize(
    ("seconds", "fault"),
    [(0, None), (9.9, None), (10, "503"), (15, "503"), (20, "401"), (30, None), (3600, "refuse"), (1e9, "refuse")],
)
def test_outages_come_and_go(seconds, fault):
    """An outage is on from its start up to its stop, and of two the first counts."""
    assert fault == Manners(outages=OUTAGES).outage(seconds)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((0, 1, "50"), "Did you mean '50[0-9]'"),
        ((0, 1, "dsn"), "Did you mean 'dns'"),
        ((0, 1, "zzz"), "--list-faults"),
        ((5, 5), "stops after it has started"),
        ((-1, 5), "starts at 0 or later"),
        ((0, math.nan), "stops after it has started"),
    ],
)
def test_nonsense_is_refused(given, said):
    """Unknown faults and times that cannot be are refused."""
    with pytest.raises(ValueError, match=said):
        Outage(*given)
