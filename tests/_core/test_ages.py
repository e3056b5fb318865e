"""Ages are spans, seconds or short text, and nothing else."""

from datetime import timedelta

import pytest

from dfllm._core.ages import seconds_of
from dfllm._core.errors import OptionError


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        (timedelta(days=1, seconds=1), 86401.0),
        (90, 90.0),
        (0, 0.0),
        (1.5, 1.5),
        ("30s", 30.0),
        ("90m", 5400.0),
        ("12h", 43200.0),
        (" 1.5 d ", 129600.0),
        ("2w", 1209600.0),
    ],
)
def test_an_age_is_so_many_seconds(age, seconds):
    """Each way to say it comes to seconds."""
    assert seconds == seconds_of(age)


@pytest.mark.parametrize(
    "age", ["30", "d", "1y", "-1d", "", -1, timedelta(days=-1), float("nan"), float("inf"), True, [1]]
)
def test_what_is_no_age_is_refused(age):
    """The message has what was found, and how it is said."""
    with pytest.raises(OptionError, match=r"older_than takes a timedelta, seconds, or text such as '30d'.*found"):
        seconds_of(age)
