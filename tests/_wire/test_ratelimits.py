"""Rate limit headers are read in both families' grammars, and what is not understood says nothing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._wire.ratelimits import Allowance, Stated, read

DATE = "Fri, 20 Nov 2026 10:00:00 GMT"


def openai(kind="requests", remaining="59", limit="60", reset="1s"):
    """Return OpenAI's headers of one limit; None leaves one out."""
    said = {"remaining": remaining, "limit": limit, "reset": reset}
    return {f"x-ratelimit-{what}-{kind}": value for what, value in said.items() if value is not None}


def anthropic(kind="requests", remaining="49", limit="50", reset="2026-11-20T10:00:30Z"):
    """Return Anthropic's headers of one limit; None leaves one out."""
    said = {"remaining": remaining, "limit": limit, "reset": reset}
    return {f"anthropic-ratelimit-{kind}-{what}": value for what, value in said.items() if value is not None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("17ms", 0.017),
        ("1h30m0s", 5_400.0),
        ("2m59.56s", 179.56),
        ("0s", 0.0),
        ("8.64s", 8.64),
        ("24h0m0s", 86_400.0),
        ("7.66ms", 0.00766),
        ("5µs", None),
        ("5us", None),
        ("12ns", None),
        ("", None),
        ("60", None),
        ("1 s", None),
        (" 1s", None),
        ("-1s", None),
        ("1s2m", None),
        ("1e3s", None),
        (".5s", None),
        ("\u0661s", None),
        ("soon", None),
        ("2026-11-20T10:00:30Z", None),
    ],
)
def test_durations_are_read_as_go_writes_them(text, expected):
    """Hours, minutes, seconds and thousandths; any other form is no information."""
    stated = read(openai(reset=text))

    assert pytest.approx(expected) == stated.requests.reset_seconds


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59_999))
def test_every_duration_of_go_comes_back(hours, minutes, thousandths):
    """What Go's `Duration.String` makes of any time to the thousandth."""
    seconds = f"{thousandths / 1000:g}s"
    text = f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}" if minutes else seconds

    found = read(openai(reset=text)).requests.reset_seconds

    assert pytest.approx(hours * 3600 + minutes * 60 + float(seconds[:-1])) == found


@pytest.mark.parametrize(
    ("reset", "date", "expected"),
    [
        ("2026-11-20T10:00:30Z", DATE, 30.0),
        ("2026-11-20T10:00:30.5Z", DATE, 30.5),
        ("2026-11-20T12:00:30+02:00", DATE, 30.0),
        ("2026-11-20T09:00:00Z", DATE, 0.0),
        ("2026-11-20T10:00:30", DATE, None),
        ("2026-11-20T10:00:30Z", None, None),
        ("2026-11-20T10:00:30Z", "yesterday", None),
        ("30s", DATE, None),
        ("", DATE, None),
        (None, DATE, None),
    ],
)
def test_times_count_from_the_answers_own_date(reset, date, expected):
    """Never from the local clock; what is past is now, and what has no date or no zone is unknown."""
    headers = anthropic(reset=reset) | ({"date": date} if date else {})

    assert expected == read(headers).requests.reset_seconds


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (openai(), Stated(Allowance(59.0, 60.0, "1s", ""), None, None)),
        (openai("tokens", "900", "1000", "6ms"), Stated(None, Allowance(900.0, 1_000.0, "6ms", ""), None)),
        (openai(limit=None, reset=None), Stated(Allowance(59.0, 0.0, "", ""), None, None)),
        (openai(limit="many"), Stated(Allowance(59.0, 0.0, "1s", ""), None, None)),
        (openai(remaining="?") | openai("tokens"), Stated(None, Allowance(59.0, 60.0, "1s", ""), None)),
        (openai(remaining="0"), Stated(Allowance(0.0, 60.0, "1s", ""), None, None)),
    ],
    ids=["requests", "tokens", "no limit", "an unreadable limit", "one unreadable", "nothing left"],
)
def test_openai_says_what_it_says(headers, expected):
    """Each limit on its own: what cannot be read takes nothing else with it."""
    assert expected == read(headers)


def test_anthropic_has_a_limit_for_each_kind():
    """Input and output on their own; the general one counts where there is no other."""
    requests, general = anthropic(), anthropic("tokens", "7", "8")
    tokens_in, tokens_out = anthropic("input-tokens", "3", "4"), anthropic("output-tokens", "5", "6")

    split = read({"date": DATE} | requests | general | tokens_in | tokens_out)
    joined = read({"date": DATE} | requests | general)

    assert [(49.0, 50.0), (3.0, 4.0), (5.0, 6.0)] == [allowance[:2] for allowance in split]
    assert [(49.0, 50.0), (7.0, 8.0)] == [allowance[:2] for allowance in joined[:2]]
    assert joined.output is None


@pytest.mark.parametrize(
    ("tokens", "project", "expected"),
    [
        (("900", "1000"), ("90", "100"), (90.0, 100.0)),
        (("900", "1000"), ("9000", "10000"), (900.0, 1_000.0)),
        (("900", "1000"), ("80", "1000"), (80.0, 1_000.0)),
        (("900", "1000"), ("?", "100"), (900.0, 1_000.0)),
        (("?", "1000"), ("90", "100"), (90.0, 100.0)),
    ],
    ids=["the project's", "one's own", "less left", "project unreadable", "only the project's"],
)
def test_of_two_token_limits_the_tighter_counts(tokens, project, expected):
    """A project may have one below the organisation's."""
    stated = read(openai("requests") | openai("tokens", *tokens) | openai("project-tokens", *project))

    assert expected == stated.tokens[:2]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json", "date": DATE, "x-request-id": "req_1"},
        {"x-ratelimit-limit-requests": "60", "x-ratelimit-reset-requests": "1s"},
        {"retry-after": "2"},
        openai(remaining="many"),
        openai(remaining=""),
        openai(remaining="-1"),
        openai(remaining="nan"),
        openai(remaining="inf"),
        openai(limit="-5"),
        openai(limit="inf"),
        anthropic(remaining="x"),
    ],
)
def test_nothing_found_is_none(headers):
    """No headers, none of these, or none that makes sense."""
    assert read(headers) is None


WORDS = st.text(max_size=12) | st.from_regex(r"[0-9.hms-]{0,12}", fullmatch=True) | st.floats().map(str)


@given(WORDS, WORDS, WORDS, WORDS, st.sampled_from([openai, anthropic]), st.sampled_from(["requests", "tokens"]))
def test_no_header_is_an_error(remaining, limit, reset, date, family, kind):
    """Whatever stands in them, numbers are finite and none is below nothing."""
    stated = read({"date": date} | family() | family(kind, remaining, limit, reset))

    for allowance in stated or ():
        if allowance is not None:
            assert 0.0 <= allowance.remaining < math.inf
            assert 0.0 <= allowance.limit < math.inf
            assert allowance.reset_seconds is None or allowance.reset_seconds >= 0.0
