"""The pace: who goes when, who is held, how many are in flight; all on virtual time."""

import asyncio
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies
from tests import virtual

from dfllm._core.types import Failure, Response
from dfllm._run.pace import LimitUse, Pace, TooLarge

NONE = {}
SAID = Response("yes", tokens_in=100, tokens_out=50)


def stated(limit, remaining, kind="requests", reset="1s"):
    """Return OpenAI's headers for one limit."""
    return {
        f"x-ratelimit-limit-{kind}": str(limit),
        f"x-ratelimit-remaining-{kind}": str(remaining),
        f"x-ratelimit-reset-{kind}": reset,
    }


def paced(test, **options):
    """Run a test on virtual time, with a pace and the time since its start."""

    async def main():
        loop = asyncio.get_running_loop()
        options.setdefault("uniform", lambda: 0.0)
        began = loop.time()
        return await test(Pace(loop.time, **options), lambda: loop.time() - began)

    return virtual.run(main())


async def pass_through(seat, count, now, size=400, hold=0.0):
    """Let so many requests wait in line; return when each went."""
    went = []

    async def one():
        ticket = await seat.wait(size, None)
        went.append(now())
        await asyncio.sleep(hold)
        seat.done(ticket, None, NONE, hold, ok=True)

    await asyncio.gather(*(one() for _ in range(count)))
    return went


async def exchange(seat, headers=NONE, *, seconds=1.0):
    """Send one request and get its answer."""
    ticket = seat.take(400, None) or await seat.wait(400, None)
    await asyncio.sleep(seconds)
    seat.done(ticket, SAID, headers, seconds, ok=True)


# A server of one's own: nothing is counted, and nothing is waited for.


def test_nobody_waits_where_no_limit_is_known():
    """A thousand requests go at once, and none of them is charged."""

    async def main(pace, now):
        seat = pace.join()
        tickets = [seat.take(400, None) for _ in range(1_000)]
        return len({id(ticket) for ticket in tickets}), seat.in_flight, pace.free, pace.use()

    assert (1, 1_000, True, LimitUse()) == paced(main)


@pytest.mark.parametrize(("concurrency", "places"), [(None, 100), (3, 3), (5_000, 5_000)])
def test_a_server_of_ones_own_is_taken_at_the_users_word(concurrency, places):
    """That many at once, from the start; 100 where the user does not say."""

    async def main(pace, now):
        return pace.join(concurrency=concurrency).places

    assert places == paced(main)


# Holds.


@pytest.mark.parametrize("rule", ["none", "openai"])
@pytest.mark.parametrize("seconds", [1.25, 7.0, 600.0])
def test_a_hold_is_as_long_as_was_asked(rule, seconds):
    """The provider's word counts, whatever its length; nobody gets through before."""

    async def main(pace, now):
        seat = pace.join()
        pace.limited(seconds)
        held, refused = pace.held, seat.take(400, None)
        went = await pass_through(seat, 1, now)
        return held, refused, pace.held, went

    assert (True, None, False, [pytest.approx(seconds)]) == paced(main, rule=rule)


def test_a_shorter_hold_does_not_end_a_longer_one():
    """Of several answers that came at once the longest counts."""

    async def main(pace, now):
        seat = pace.join()
        pace.limited(9.0)
        pace.limited(2.0)
        return await pass_through(seat, 1, now)

    assert [pytest.approx(9.0)] == paced(main)


def test_a_hold_that_grows_meanwhile_is_waited_out():
    """Whoever's time has come is looked at again before it goes."""

    async def main(pace, now):
        seat = pace.join()
        pace.limited(3.0)
        asyncio.get_running_loop().call_later(2.0, pace.limited, 5.0)
        return await pass_through(seat, 1, now)

    assert [pytest.approx(7.0)] == paced(main)


def test_a_hold_of_nothing_holds_nobody():
    """Retry-After of 0 is taken at its word."""

    async def main(pace, now):
        seat = pace.join()
        pace.limited(0.0)
        return seat.take(400, None) is not None, now()

    assert (True, 0.0) == paced(main)


def test_holds_without_a_word_double_up_to_a_minute():
    """Second after second the provider says 429 and not for how long."""

    async def main(pace, now):
        seat, waits = pace.join(), []
        for _ in range(9):
            before = now()
            ticket = await seat.wait(400, None)
            waits.append(round(now() - before, 3))
            seat.done(ticket, None, NONE, 0.0, ok=False)
            pace.limited(None)
        return waits

    assert [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] == paced(main)


def test_many_answers_of_one_burst_double_once():
    """A hundred 429s in one round trip are one piece of news."""

    async def main(pace, now):
        seat = pace.join()
        for _ in range(100):
            pace.limited(None)
        first = await pass_through(seat, 1, now, hold=0.0)
        for _ in range(100):
            pace.limited(None)
        return first, await pass_through(seat, 1, now)

    first, second = paced(main)
    assert [pytest.approx(1.0)] == first
    assert [pytest.approx(2.0)] == second


def test_an_answer_ends_the_doubling():
    """After an answer the first hold is short again."""

    async def main(pace, now):
        seat = pace.join()
        for _ in range(3):
            pace.limited(None)
            await asyncio.sleep(60)
        await exchange(seat)
        began = now()
        pace.limited(None)
        await seat.wait(400, None)
        return now() - began

    assert pytest.approx(1.0) == paced(main)


def test_time_without_an_answer_is_counted():
    """What `limited` returns is how long the provider has said nothing but "later"; an answer starts it anew."""

    async def main(pace, now):
        seat, waited = pace.join(), []
        for _ in range(3):
            waited.append(pace.limited(10.0))
            await asyncio.sleep(10)
        await exchange(seat)
        return [round(seconds, 6) for seconds in (*waited, pace.limited(10.0))]

    assert [0.0, 10.0, 20.0, 0.0] == paced(main)


@settings(max_examples=25)
@given(luck=strategies.floats(0.0, 1.0, exclude_max=True), seconds=strategies.floats(0.1, 900.0))
def test_senders_are_spread_and_none_goes_early(luck, seconds):
    """All at once would be refused all at once: where no rate spaces them, they go over a quarter of the hold."""

    async def main(pace, now):
        seat = pace.join()
        waiting = asyncio.ensure_future(pass_through(seat, 20, now))
        pace.limited(seconds / 2)
        await asyncio.sleep(0)
        pace.limited(seconds)
        return await waiting

    went = paced(main, uniform=lambda: luck)

    assert seconds * 0.999 <= min(went)
    assert max(went) <= seconds * 1.2501
    assert luck < 0.01 or max(went) > min(went)


# The line.


def test_a_known_limit_is_paced():
    """The first second's worth goes at once, the rest at 99 % of the limit."""

    async def main(pace, now):
        return await pass_through(pace.join(rpm=60.0), 10, now)

    went = paced(main)
    assert went[0] == 0.0
    assert [pytest.approx(1 / 0.99)] * 8 == [after - before for before, after in pairwise(went[1:])]


def test_requests_of_a_run_go_first_come_first_served():
    """Whatever their size."""

    async def main(pace, now):
        seat, order = pace.join(tpm=60_000.0), []

        async def one(number, size):
            await seat.wait(size, None)
            order.append(number)

        await asyncio.gather(*(one(number, size) for number, size in enumerate([4_000, 400, 8_000, 40, 12_000, 4])))
        return order

    assert list(range(6)) == paced(main)


def test_a_small_run_beside_a_large_one_has_half():
    """100 rows beside 100,000 end within twice their time alone and a second."""

    async def small(pace, now, beside):
        large = pace.join(rpm=600.0)
        waiting = [asyncio.ensure_future(large.wait(400, None)) for _ in range(beside)]
        await asyncio.sleep(5)
        while large.take(400, None):
            pass  # nobody begins with a full clock
        began = now()
        await pass_through(pace.join(rpm=600.0), 100, now)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return now() - began

    alone = paced(lambda pace, now: small(pace, now, 0))
    beside = paced(lambda pace, now: small(pace, now, 3_000))

    assert alone < beside <= 2 * alone + 1.0


def test_waiting_is_cheap(monkeypatch):
    """10,000 who wait at 600 a minute: a timer for each that goes, none for those who stay; under 2 % of a core."""
    timers = []

    async def main(pace, now):
        seat = pace.join(rpm=600.0)
        loop = asyncio.get_running_loop()
        later = loop.call_later
        waiting = [asyncio.ensure_future(seat.wait(400, None)) for _ in range(10_000)]
        await asyncio.sleep(1)
        monkeypatch.setattr(loop, "call_later", lambda *call: timers.append(call) or later(*call))
        began, burnt = now(), time.process_time()
        went = sum(one.done() for one in waiting)
        await asyncio.sleep(12)
        burnt, went = time.process_time() - burnt, sum(one.done() for one in waiting) - went
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return now() - began, burnt, went

    _, burnt, went = paced(main)
    assert 117 <= went <= 120
    assert len(timers) <= 2 * went
    assert burnt < 0.02 * 12


@settings(max_examples=30)
@given(strategies.data())
def test_the_cancelled_cost_nobody_anything(data):
    """Cancelled in line, at its head, or with the ticket in hand: those who stay go as if they had never been there."""
    who = data.draw(strategies.sets(strategies.integers(0, 29)))
    when = data.draw(strategies.floats(0.0, 3.0))

    async def main(pace, now):
        seat, went = pace.join(rpm=600.0), []

        async def one():
            ticket = await seat.wait(400, None)
            went.append(now())
            await asyncio.sleep(1)
            seat.done(ticket, None, NONE, 1.0, ok=True)

        tasks = [asyncio.ensure_future(one()) for _ in range(30)]
        await asyncio.sleep(when)
        before = len(went)
        for number in who:
            tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return before, went, seat.in_flight, pace._line.length

    before, went, in_flight, length = paced(main)
    assert 0 == length
    assert 0 <= in_flight <= before  # those cancelled in flight are not ours to settle
    # What was not used by then is used by those behind: no gap is longer than the pace.
    gaps = [after - gone for gone, after in pairwise(went)]
    assert all(gap < 0.103 for gap in gaps)


def test_a_ticket_that_nobody_takes_is_given_back(monkeypatch):
    """Cancelled in the very moment its time has come."""

    async def main(pace, now):
        seat, queue = pace.join(rpm=60.0), pace.queue
        seat.take(400, None)

        def cancelling(waiter):
            # Before the task itself hears that it has its ticket.
            waiter.future.add_done_callback(lambda _: waiting.cancel())
            queue(waiter)

        monkeypatch.setattr(pace, "queue", cancelling)
        waiting = asyncio.ensure_future(seat.wait(400, None))
        await asyncio.gather(waiting, return_exceptions=True)
        monkeypatch.undo()
        return waiting.cancelled(), seat.in_flight, now(), await pass_through(seat, 1, now)

    cancelled, in_flight, at, went = paced(main)
    assert (True, 1) == (cancelled, in_flight)
    assert [pytest.approx(at)] == went


# Sizes.


def test_a_request_larger_than_the_whole_limit_can_never_go():
    """It says so, whether it asked or waited, and those behind it go on."""

    async def main(pace, now):
        seat = pace.join(tpm=60_000.0)
        failures = []
        for call in (lambda: seat.take(400, 90_000), lambda: seat.take(600_000, None)):
            with pytest.raises(TooLarge) as caught:
                call()
            failures.append(caught.value.failure)
        ended = await asyncio.gather(seat.wait(600_000, None), seat.wait(400, None), return_exceptions=True)
        return failures, type(ended[0]), ended[1].size, seat.in_flight

    (asked, large), kind, size, in_flight = paced(main)
    assert Failure("TooLarge", "90k tokens, limit 60k per minute", "free") == asked
    assert Failure("TooLarge", "100k tokens, limit 60k per minute", "free") == large
    assert (TooLarge, 400, 1) == (kind, size, in_flight)


def test_a_share_makes_no_request_too_large():
    """The provider would let it through; it only takes longer."""

    async def main(pace, now):
        seat = pace.join(tpm=60_000.0, share=0.25)
        return await pass_through(seat, 2, now, size=160_000)

    first, second = paced(main)
    assert 0.0 == first
    assert second > 100.0


# What answers teach.


def test_limits_are_learned_from_the_first_answer():
    """Even a server of one's own may have some, and then it is paced as any other."""

    async def main(pace, now):
        seat = pace.join()
        await exchange(seat, stated(60, 0))
        return pace.free, pace.use().requests, pace.use().source, await pass_through(seat, 4, now)

    free, requests, source, went = paced(main)
    assert (False, 60.0, "stated") == (free, requests, source)
    assert [pytest.approx(1 / 0.99)] * 2 == [after - before for before, after in pairwise(went[1:])]


def test_the_users_word_goes_before_headers():
    """And what headers prove to be left is used only as far as it."""

    async def main(pace, now):
        seat = pace.join(rpm=60.0)
        await exchange(seat, stated(6_000, 5_999))
        return pace.use().requests, pace.use().source, await pass_through(seat, 100, now)

    requests, source, went = paced(main, rule="openai")
    assert (60.0, "given") == (requests, source)
    assert 40.0 < went[-1] - went[0]


def test_a_limit_per_day_is_no_pace():
    """Whoever may send 14,400 requests a day may send them in an hour."""

    async def main(pace, now):
        seat = pace.join()
        await exchange(seat, stated(14_400, 14_370, reset="2m59.56s"))
        return pace.use().requests, await pass_through(seat, 1_000, now)

    requests, went = paced(main)
    assert requests is None
    assert went[-1] - went[0] == 0.0


def test_what_was_not_used_comes_back():
    """The guess of the first is a quarter of its bytes and 256 tokens; it took 150, so the second goes sooner."""

    async def second(pace, response):
        seat = pace.join(tpm=6_000.0)
        ticket = seat.take(4_000, None)
        seat.done(ticket, response, NONE, 1.0, ok=response is not None)
        began = asyncio.get_running_loop().time()
        await seat.wait(4_000, None)
        return asyncio.get_running_loop().time() - began

    settled = paced(lambda pace, now: second(pace, SAID))
    lost = paced(lambda pace, now: second(pace, None))

    assert settled < 3.0
    assert lost > 10.0


@pytest.mark.parametrize(("rule", "comes_back"), [("openai", True), ("anthropic", True), ("gemini", False)])
def test_an_error_gives_tokens_back_where_the_provider_does(rule, comes_back):
    """Gemini counts failed requests, too. A 429 gives nothing back: the clocks are empty anyway."""

    async def main(pace, now):
        seat = pace.join(tpm=6_000.0)
        level = pace._tempo.clocks.all[1].level(asyncio.get_running_loop().time())
        ticket = seat.take(400, None)
        seat.done(ticket, None, {"content-type": "text/html"}, 0.0, ok=False)
        after = pace._tempo.clocks.all[1].level(asyncio.get_running_loop().time())
        pace.limited(5.0)
        return after == pytest.approx(level), pace._tempo.clocks.all[1].level(asyncio.get_running_loop().time())

    same, empty = paced(main, rule=rule)
    assert comes_back == same
    assert empty < 0.0


def test_a_refusal_is_counted_and_lowers_the_rate():
    """For the report: how often, and for how long all were held."""

    async def main(pace, now):
        seat = pace.join(rpm=600.0)
        for _ in range(3):
            await exchange(seat)
            pace.limited(10.0)
        await asyncio.sleep(10)
        return pace.use()

    use = paced(main)
    assert 3 == use.refusals
    assert 30.0 == pytest.approx(use.held_seconds, abs=0.1)
    assert (600.0, "given") == (use.requests, use.source)
    assert 0.0 < use.share < 0.1


# How many at once.


def test_places_follow_rate_and_latency():
    """Ten a second for two seconds each are twenty, and a fifth to spare; a slower provider gets more, not the same."""

    async def main(pace, now):
        seat = pace.join(rpm=600.0)
        at_first = seat.places
        for seconds in (2.0, 4.0):
            for _ in range(100):
                await exchange(seat, seconds=seconds)
        return at_first, seat.places

    assert (8, 48) == paced(main)


def test_places_never_pass_the_users_ceiling():
    """Nor do they fall below one."""

    async def main(pace, now):
        seat, other = pace.join(rpm=6_000.0, concurrency=5), pace.join(rpm=6_000.0, concurrency=1)
        for _ in range(30):
            await exchange(seat, seconds=3.0)
        return seat.places, other.places

    assert (5, 1) == paced(main)


def test_places_for_a_burst_are_there_when_it_is_proven():
    """Whoever is told of them is told at once."""
    told = []

    async def main(pace, now):
        seat = pace.join()
        seat.on_more = lambda: told.append(seat.places)
        await exchange(seat, stated(600, 599, reset="100ms"))
        return seat.places

    places = paced(main, rule="openai")
    assert 400 < places == told[-1]


def test_an_unknown_limit_is_approached_in_doublings():
    """8, and twice as many every five seconds if they are made use of."""

    async def main(pace, now):
        seat, seen = pace.join(), []

        async def work():
            while now() < 21:
                await exchange(seat, seconds=2.0)
                seen.append(seat.places)

        await asyncio.gather(*(work() for _ in range(200)))
        return sorted(set(seen))

    seen = paced(main, rule="openai")
    assert [8, 16, 32] == seen[:3]


def test_an_overload_cuts_the_room_and_answers_heal_it():
    """By three tenths, once a second however many say so."""

    async def main(pace, now):
        seat = pace.join(concurrency=100)
        tickets = [seat.take(400, None) for _ in range(100)]
        seen = [seat.places]
        for _ in range(50):
            pace.overloaded(slow_down=False)
        seen.append(seat.places)
        await asyncio.sleep(1.5)
        pace.overloaded(slow_down=False)
        seen.append(seat.places)
        for ticket in tickets:
            seat.done(ticket, None, NONE, 1.0, ok=True)
        for _ in range(1_000):
            await exchange(seat, seconds=0.1)
        return [*seen, seat.places]

    assert [100, 70, 49, 100] == paced(main)


def test_slow_down_takes_the_rise_back_for_a_quarter_of_an_hour():
    """From then on the rate rises again, slowly."""

    async def main(pace, now):
        seat = pace.join(rpm=6_000.0)
        while now() < 30:
            await exchange(seat, seconds=0.5)
        while now() < 60:
            await asyncio.gather(*(exchange(seat, seconds=0.5) for _ in range(20)))
        rates = [pace._tempo.clocks.all[0].rate]
        pace.overloaded(slow_down=True)
        rates.append(pace._tempo.clocks.all[0].rate)
        await asyncio.sleep(890)
        await exchange(seat)
        rates.append(pace._tempo.clocks.all[0].rate)
        for _ in range(100):
            await exchange(seat, seconds=10.0)
        return [*rates, pace._tempo.clocks.all[0].rate]

    before, after, held, later = paced(main)
    assert 99.0 == pytest.approx(before)
    assert 2.0 == pytest.approx(after, abs=0.2)
    assert after == held
    assert 1.3 * after < later < 2.0 * after


# Runs come and go.


def test_late_answers_of_a_run_that_has_ended_do_no_harm():
    """Whoever was interrupted leaves before its answers are in."""

    async def main(pace, now):
        seat = pace.join(rpm=600.0)
        ticket = seat.take(400, None)
        seat.leave()
        seat.leave()
        seat.done(ticket, SAID, stated(1_200, 1_100), 1.0, ok=True)
        pace.limited(1.0)
        pace.overloaded(slow_down=True)
        return pace.join().places

    assert paced(main) >= 1


def test_the_tightest_word_of_several_users_counts():
    """While the run that it belongs to is there."""

    async def main(pace, now):
        pace.join(rpm=600.0)
        tight = pace.join(rpm=60.0, share=0.5)
        both = pace.use().requests
        tight.leave()
        return both, pace.use().requests

    assert (30.0, 600.0) == paced(main)


# What providers should not say, and users should not do, harms nobody.


@pytest.mark.parametrize("more", [{}, {"x-ratelimit-limit-requests": "1000", "x-ratelimit-reset-requests": "7m12s"}])
def test_what_is_left_of_an_unknown_limit_holds_nobody_up(more):
    """A number left without a limit, or with one per day: the run goes on."""

    async def test(pace, now):
        seat = pace.join()
        for _ in range(5):
            ticket = await seat.wait(100, 10)
            await asyncio.sleep(2.0)
            seat.done(ticket, SAID, {"x-ratelimit-remaining-requests": "100"} | more, 2.0, ok=True)
        return now()

    assert paced(test, rule="openai") < 20.0


@pytest.mark.parametrize("rule", ["openai", "none"])
def test_answers_that_used_nothing_break_nothing(rule):
    """Some servers say that a request took no tokens at all."""

    async def test(pace, now):
        seat = pace.join(rpm=6_000.0)
        for _ in range(40):
            ticket = await seat.wait(100, None)
            seat.done(ticket, Response("x", tokens_in=0, tokens_out=0), NONE, 1.0, ok=True)
        return now()

    assert paced(test, rule=rule) < 2.0


def test_cancelling_all_who_wait_leaves_nothing_in_flight():
    """Whoever leaves the line was never on the way."""

    async def test(pace, now):
        seat = pace.join(rpm=60.0)
        ticket = seat.take(100, 10)
        tasks = [asyncio.create_task(seat.wait(100, 10)) for _ in range(50)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        seat.done(ticket, None, NONE, 1.0, ok=False)
        return pace.in_flight, seat.in_flight

    assert (0, 0) == paced(test, rule="openai")


def test_use_is_that_of_the_runs_under_way():
    """Hours between two runs do not count as a limit left unused."""

    async def test(pace, now):
        shares = []
        for _ in range(2):
            seat = pace.join(rpm=60.0)
            for _ in range(30):
                seat.done(await seat.wait(100, None), SAID, NONE, 0.1, ok=True)
            shares.append(pace.use().share)
            seat.leave()
            await asyncio.sleep(3_600.0)
        return shares

    first, second = paced(test, rule="openai")

    assert first > 0.9
    assert second > 0.9
