"""A request is judged in order - key, body, outage, limit, fault - and its place is given back when it is over."""

import json

import pytest

from dfllm.simulator import Bill, Faults, Manners, Outage, RateLimits
from dfllm.simulator.asks import hash_of
from dfllm.simulator.desk import Desk

ASK = {"model": "echo", "messages": [{"role": "user", "content": "x" * 400}]}
TOKENS = 104 + 100  # four for the message, and a token for four letters, there and back


class Clock:
    """A clock that is told the time."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def desk_of(**options):
    """Return a desk with a clock of its own."""
    clock = Clock()
    return Desk(Manners(**options), Bill(), clock, lambda: 1_767_225_600.0), clock


def served(desk, authorization="", **asked):
    """Ask, and return the reply once the call is over."""
    with desk.serve(json.dumps(ASK | asked).encode(), authorization) as served:
        return served.reply


def remaining(reply):
    """Return the tokens that were left when the request came in."""
    return int(reply.headers["x-ratelimit-remaining-tokens"])


def test_bytes_are_the_same_at_the_same_time():
    """Two desks with the same clock send the same bytes."""
    assert served(desk_of()[0]).body == served(desk_of()[0]).body


def test_first_judge_first():
    """A wrong key goes before a broken body, that before an outage, that before a limit, that before a fault."""
    desk, clock = desk_of(
        key="right",
        outages=[Outage(10, 20, "529")],
        limits=RateLimits(rpm=1),
        faults=Faults(rates={"500": 1.0}, attempts=9),
    )
    statuses = []
    for now in (112.0, 125.0, 126.0):
        clock.now = now
        statuses.append([served(desk, "Bearer wrong").status, served(desk, "Bearer right", n=0).status])
        statuses[-1].append(served(desk, "Bearer right").status)

    assert [[401, 400, 529], [401, 400, 500], [401, 400, 429]] == statuses


def test_outages_begin_with_the_desk():
    """Seconds are counted from the making of the desk, not from the clock's zero."""
    desk, clock = desk_of(outages=[Outage(0, 10, "503")])
    first = served(desk).status
    clock.now += 10

    assert (503, 200) == (first, served(desk).status)


def test_tokens_are_reserved_as_long_as_the_call():
    """Input and the whole allowance are taken while the call lasts; what was not used comes back at its end."""
    desk, _ = desk_of(limits=RateLimits(tpm=10_000))

    with desk.serve(json.dumps(ASK | {"max_tokens": 5_000}).encode(), "") as call:
        during = remaining(served(desk))
    after = remaining(served(desk))

    assert 10_000 - 104 - 5_000 == remaining(call.reply)
    assert 10_000 - 104 - 5_000 - TOKENS == during
    assert 10_000 - TOKENS - TOKENS - TOKENS == after


def test_every_choice_is_reserved():
    """Two choices may take the allowance twice."""
    desk, _ = desk_of(limits=RateLimits(tpm=10_000))

    assert 10_000 - 104 - 2 * 3_000 == remaining(served(desk, n=2, max_tokens=3_000))


def test_without_an_allowance_the_answer_is_reserved():
    """Where no limit is given to the answer, what it will take is taken."""
    desk, _ = desk_of(limits=RateLimits(tpm=10_000))

    assert [10_000 - TOKENS, 10_000 - 2 * TOKENS] == [remaining(served(desk)), remaining(served(desk))]


@pytest.mark.parametrize(
    ("fault", "left"), [("500", 10_000), ("drop_before", 10_000), ("drop_before_billed", 10_000 - TOKENS)]
)
def test_free_calls_give_their_tokens_back(fault, left):
    """What was not billed does not count against the tokens, though it does against the requests."""
    desk, _ = desk_of(limits=RateLimits(rpm=10, tpm=10_000), faults=Faults(rates={fault: 1.0}))
    served(desk)

    reply = served(desk)

    assert left - TOKENS == remaining(reply)
    assert "8" == reply.headers["x-ratelimit-remaining-requests"]


def test_no_answer_takes_more_than_it_reserved():
    """An answer that runs over, as a bomb does, leaves no debt."""
    desk, _ = desk_of(limits=RateLimits(tpm=10_000), faults=Faults(rates={"bomb": 1.0}))
    served(desk)

    assert 10_000 - 2 * TOKENS == remaining(served(desk))


def test_refused_calls_are_on_the_bill_and_free():
    """A call that the limiter refuses is counted as an attempt, and costs nothing."""
    desk, _ = desk_of(limits=RateLimits(rpm=1))

    statuses = [served(desk).status for _ in range(3)]

    entry = desk.bill.entries()[hash_of(ASK)]
    assert [200, 429, 429] == statuses
    assert (3, 1, {200: 1, 429: 2}) == (entry.calls, entry.billed, entry.statuses)
    assert 0 == desk.bill.in_flight


def test_a_call_that_breaks_off_is_over():
    """Whoever hangs up gives back place and tokens, and has paid."""
    desk, _ = desk_of(limits=RateLimits(tpm=10_000))

    def hang_up():
        with desk.serve(json.dumps(ASK | {"max_tokens": 5_000}).encode(), ""):
            raise ConnectionError(desk.bill.in_flight)

    with pytest.raises(ConnectionError, match="1"):
        hang_up()

    assert (0, 1) == (desk.bill.in_flight, desk.bill.billed)
    assert 10_000 - 2 * TOKENS == remaining(served(desk))


def test_prefix_is_found_by_the_next_question():
    """It says how much had been read, whatever goes wrong with the answer; the bill is as ever."""
    desk, _ = desk_of(faults=Faults(by_text={"Lima": "length"}))
    rules = {"role": "system", "content": "Be brief. " * 500}
    said = []
    for city in ("Oslo", "Lima", "Rome"):
        reply = served(desk, messages=[rules, {"role": "user", "content": city}])
        said.append(json.loads(reply.body)["usage"])

    assert [0, 1_152, 1_152] == [usage["prompt_tokens_details"]["cached_tokens"] for usage in said]
    assert desk.bill.prompt_tokens == sum(usage["prompt_tokens"] for usage in said)


@pytest.mark.parametrize(("fault", "cached"), [("500", 0), ("drop_before", 0), ("drop_before_billed", 1_152)])
def test_prefix_is_kept_once_it_was_paid_for(fault, cached):
    """What was refused was not read."""
    desk, _ = desk_of(faults=Faults(by_text={"x": f"{fault}*1"}))
    asked = {"messages": [{"role": "user", "content": "x" * 5_000}]}
    served(desk, **asked)

    reply = served(desk, **asked)

    assert cached == json.loads(reply.body)["usage"]["prompt_tokens_details"]["cached_tokens"]
