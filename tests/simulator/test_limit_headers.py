"""Times are written as the vendors write them, and never shorter than they are."""

import pytest

from dfllm.simulator.limit_headers import duration, moment


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0s"),
        (1e-10, "0s"),
        (0.0001, "1ms"),
        (0.017, "17ms"),
        (0.12, "120ms"),
        (0.9999, "1s"),
        (1, "1s"),
        (1.5, "1.5s"),
        (20, "20s"),
        (59.9995, "1m0s"),
        (60, "1m0s"),
        (179.56, "2m59.56s"),
        (360, "6m0s"),
        (5400, "1h30m0s"),
        (3600.001, "1h0m0.001s"),
    ],
)
def test_durations_are_gos(seconds, said):
    """Hours, minutes and seconds without blanks, a fraction only of seconds, and milliseconds alone below one."""
    assert said == duration(seconds)


@pytest.mark.parametrize(("seconds", "said"), [(0, "1970-01-01T00:00:00Z"), (1_767_225_600.2, "2026-01-01T00:00:01Z")])
def test_moments_are_rfc_3339(seconds, said):
    """A moment is in UTC and in whole seconds, rounded up."""
    assert said == moment(seconds)
