"""The door without sockets gives what the server gives, in the time of its loop."""

import asyncio
import email.utils
import json
import math
import re

import pytest
from tests import virtual

from dfllm.simulator import FAULTS, Faults, InProcess, Manners, Outage, RateLimits, Simulator, Unanswered

ASK = {"model": "small", "messages": [{"role": "user", "content": "Where is Oslo?"}]}
BODY = json.dumps(ASK).encode()
#: Faults that leave no answer to compare, or one that differs by the time of day.
BROKEN = {"drop_before", "drop_before_billed", "drop_mid", "reset_mid", "chunk_cut", "stall", "drip", "frame", "bomb"}
DATED = {"ra_date", "ra_skew", "ra_past"}
MADE_AT = re.compile(rb'"created":\d+')


def now():
    """Return virtual seconds since the start."""
    return asyncio.get_running_loop().time() - virtual.START_SECONDS


def asked(body=BODY, headers=None, timeout_seconds=None, **manners):
    """Ask once; return what came, when it came, and the bill."""

    async def main():
        provider = InProcess(Manners(**manners))
        try:
            came = await provider.post(body, headers, timeout_seconds)
        except Unanswered as error:
            came = error
        return came, now(), provider.bill

    return virtual.run(main())


def in_an_hour(provider, minutes):
    """Ask once at each of these minutes; return statuses, or troubles."""

    async def main():
        statuses, door = [], provider()
        for minute in minutes:
            await asyncio.sleep(60 * minute - now())
            try:
                statuses.append((await door.post(BODY)).status)
            except Unanswered as error:
                statuses.append(error.trouble)
        return statuses, door.bill

    return virtual.run(main())


@pytest.mark.parametrize("fault", [None, *(name for name in FAULTS if name not in BROKEN and name not in DATED)])
def test_what_comes_is_what_the_server_sends(fault, post):
    """Status, body and headers of an answer are those that come over a socket, whatever goes wrong in it."""
    manners = {"faults": Faults(rates={fault: 1.0} if fault else {}), "limits": RateLimits(rpm=10, tpm=10_000)}

    here, _, _ = asked(**manners)
    with Simulator(**manners) as simulator:
        there = post(simulator, BODY, **{"content-type": "application/json"})

    shared = here.headers.keys() - {"date", "content-type", "openai-processing-ms", "x-request-id"}
    assert here.status == there.status_code
    assert here.headers["content-type"] == there.headers["content-type"].split(";")[0]
    assert {name: here.headers[name] for name in shared} == {name: there.headers[name] for name in shared}
    assert MADE_AT.sub(b"", here.body) == MADE_AT.sub(b"", there.content)


@pytest.mark.parametrize(
    ("fault", "trouble", "share", "billed"),
    [
        ("drop_before", "reset", None, 0),
        ("drop_before_billed", "reset", None, 1),
        ("drop_mid", "cut", 0.5, 1),
        ("reset_mid", "cut", 0.5, 1),
        ("chunk_cut", "cut", 0.5, 1),
        ("frame", "twice", 1.0, 1),
    ],
)
def test_lost_answers_say_what_was_seen(fault, trouble, share, billed):
    """A connection that goes is an exception, with as much of the body as came."""
    whole, _, _ = asked()
    error, _, bill = asked(faults=Faults(rates={fault: 1.0}))

    assert (trouble, True, billed) == (error.trouble, error.sent, bill.billed)
    assert error.received == (None if share is None else whole.body[: int(len(whole.body) * share)])


@pytest.mark.parametrize(
    ("fault", "received"), [("stall", None), ("drip", b'{"id"'), ("500", None)], ids=["stall", "drip", "latency"]
)
def test_time_may_be_up(fault, received):
    """Who waits less than an answer takes sees nothing or its beginning, at that time, and has paid for it."""
    slow = fault == "500"
    faults = Faults(rates={fault: 1.0}, stall_seconds=60)

    error, when, bill = asked(timeout_seconds=30, latency_seconds=31 if slow else 1, faults=faults)

    assert ("timeout", True, 30) == (error.trouble, error.sent, when)
    assert error.received[:5] == received if received else error.received is None
    assert (1, int(not slow), 0) == (bill.requests, bill.billed, bill.in_flight)


@pytest.mark.parametrize(("fault", "takes"), [(None, 2), ("stall", 62), ("drip", 62), ("stale", 2)])
def test_answers_take_their_time(fault, takes):
    """Latency and stalls pass on the loop's clock."""
    came, when, _ = asked(latency_seconds=2, faults=Faults(rates={fault: 1.0} if fault else {}, stall_seconds=60))

    assert (200, takes) == (came.status, pytest.approx(when))


def test_the_same_run_has_the_same_bytes():
    """Nothing depends on the day it is done."""
    first, second = asked()[0], asked()[0]

    assert first == second
    assert "Thu, 01 Jan 2026 00:00:01 GMT" == first.headers["date"]


@pytest.mark.parametrize(("name", "wait"), [("ra_date", 100), ("ra_skew", 100), ("ra_past", 100 - 3600)])
def test_dates_are_by_its_own_clock(name, wait):
    """Dates to wait for fit the answer's own date."""
    came, _, _ = asked(faults=Faults(rates={name: 1.0}, retry_after_seconds=100.0))

    until, date = (email.utils.parsedate_to_datetime(came.headers[header]) for header in ("retry-after", "date"))
    assert wait == (until - date).total_seconds()


def test_the_wall_clock_may_be_wrong():
    """A provider may live in another year."""

    async def main():
        return await InProcess(wall=lambda: 0.0).post(BODY)

    assert "Thu, 01 Jan 1970 00:00:00 GMT" == virtual.run(main()).headers["date"]


@pytest.mark.parametrize(("given", "status"), [({"Authorization": "Bearer right"}, 200), ({}, 401), (None, 401)])
def test_key_is_checked(given, status):
    """The key counts here too."""
    assert status == asked(headers=given, key="right")[0].status


@pytest.mark.parametrize(
    ("fault", "met", "calls"), [("503", 503, 4), ("401", 401, 4), ("refuse", "refuse", 2), ("dns", "dns", 2)]
)
def test_an_outage_lasts_its_hour(fault, met, calls):
    """For an hour nothing works, then all does; who is not reached has nothing on the bill."""
    statuses, bill = in_an_hour(
        lambda: InProcess(Manners(outages=[Outage(600, 4200, fault)])), minutes=[9.9, 10, 69.9, 70]
    )

    assert [200, met, met, 200] == statuses
    assert (calls, 2) == (bill.requests, bill.billed)


def test_unreached_means_unsent():
    """A connection that is not made has cost nothing, and says so."""
    error, _, bill = asked(outages=[Outage(0, math.inf, "refuse")])

    assert (False, None, 0) == (error.sent, error.received, bill.requests)


def test_limits_are_of_the_loops_minutes():
    """A minute of the limiter is a minute of the loop."""
    statuses, _ = in_an_hour(
        lambda: InProcess(Manners(limits=RateLimits(rpm=1, refused_count=False))), minutes=[0, 0.5, 1, 1.5, 2]
    )

    assert [200, 429, 200, 429, 200] == statuses


def test_who_is_cancelled_leaves():
    """A client that gives up has paid, and is no longer in flight."""

    async def main():
        provider = InProcess(Manners(latency_seconds=10))
        asking = asyncio.ensure_future(provider.post(BODY))
        await asyncio.sleep(5)
        during = provider.bill.in_flight
        asking.cancel()
        await asyncio.wait([asking])
        return during, provider.bill.in_flight, provider.bill.billed

    assert (1, 0, 1) == virtual.run(main())


def test_it_needs_a_clock():
    """Outside a loop a clock has to be given."""
    with pytest.raises(RuntimeError):
        InProcess()

    assert InProcess(clock=lambda: 0.0).bill.requests == 0
