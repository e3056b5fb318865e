"""Live: every question lands once, no more are in flight than may be, and whatever breaks is heard of.

The provider is a simulator over real sockets; where it cannot say what a test needs, `post` is a function that does.
"""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from tests import virtual

from dfllm._core.types import Failure, Message, Response, Terms
from dfllm._run.asks import Ask
from dfllm._run.commits import GROUP
from dfllm._run.gate import Gate
from dfllm._run.http import Answer, Http, route
from dfllm._run.live import Live
from dfllm._run.pace import Pace
from dfllm._run.runtime import _poster
from dfllm._wire import openai
from dfllm.simulator import Faults

TERMS = Terms("simulator", "openai", "echo")
GOOD = openai.encoder(TERMS)
HEADERS = {"Content-Type": "application/json"}


def key_of(number):
    """Return a key by its number."""
    return number.to_bytes(20, "big")


def asks(count, start=0):
    """Return questions, each with a text of its own."""
    return [Ask(key_of(number), GOOD((Message("user", f"row {number}."),))) for number in range(start, start + count)]


class Provider:
    """A provider in virtual time: up but for some spans, in which everything ends as it is told.

    Args:
        spans: from, to (in seconds since it began) and how requests end meanwhile.
        latency: what an answer takes.
    """

    def __init__(self, *spans, latency=1.0):
        self.spans = spans
        self.latency = latency
        self.began = None
        self.sent = []

    def now(self):
        """Return the seconds since the first request."""
        now = asyncio.get_running_loop().time()
        self.began = now if self.began is None else self.began
        return now - self.began

    async def __call__(self, content):
        """Answer one request."""
        self.sent.append(self.now())
        await asyncio.sleep(self.latency)
        for start, stop, failure in self.spans:
            if start <= self.now() < stop:
                return failure
        return answer()

    def between(self, start, stop):
        """Return how many requests were sent in that time."""
        return sum(start <= at < stop for at in self.sent)


def outlast(provider, count, **options):
    """Send questions to a provider, in virtual time; return the bench."""

    async def main():
        at = Bench(provider, **{"patience": 7200.0, **options})
        at.live.add(asks(count))
        await at.live.finish()
        at.seconds = provider.now()
        return at

    return virtual.run(main())


class Bench:
    """A Live with everything around it in sight."""

    def __init__(self, post, **options):
        self.groups, self.missed = [], []
        self.before_landing = None
        self.waits = []
        self.gate = options.pop("gate", None) or Gate()
        self.pace = options.pop("pace", None) or Pace(asyncio.get_running_loop().time)
        self.live = Live(
            post=post,
            read=options.pop("read", openai.read),
            save=lambda group: asyncio.ensure_future(self._land(group)),
            tell=self._tell,
            missed=self.missed.append,
            waiting=self.waits.append,
            pace=self.pace,
            seat=self.pace.join(concurrency=options.pop("concurrency", 10)),
            gate=self.gate,
            resend_ambiguous=options.pop("resend_ambiguous", 1),
            patience=options.pop("patience", 100.0),
            uniform=options.pop("uniform", lambda: 0.0),
            **options,
        )

    async def _land(self, group):
        if self.before_landing is not None:
            await self.before_landing()
        self.groups.append(group)

    def _tell(self, group, error):
        if error is not None:
            raise error

    @property
    def landed(self):
        """Return what landed, by key."""
        by_key = {one.key: one for group in self.groups for one in group}
        assert len(by_key) == sum(map(len, self.groups)), "a question landed twice"
        return by_key

    @property
    def kinds(self):
        """Return how questions ended, by the number of their key."""
        return {
            int.from_bytes(key, "big"): one.outcome.type if isinstance(one.outcome, Failure) else "answer"
            for key, one in self.landed.items()
        }


@asynccontextmanager
async def bench(provider, **options):
    """Give a bench whose requests go to the simulator."""
    http = Http()
    try:
        yield Bench(
            _poster(http, route(f"{provider.base_url}/chat/completions", HEADERS, None), 30.0, bytes), **options
        )
    finally:
        await http.close()


async def until(is_so):
    """Let the loop run until something is so."""
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.001)


def answer(text="yes"):
    """Return a good answer as a function that posts would give it."""
    body = b'{"choices":[{"message":{"content":"%b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}'
    return Answer(200, {}, body % text.encode())


def scripted(*given):
    """Return a `post` that gives these, one after the other and the last one for ever, and counts itself."""

    async def post(content):
        post.count += 1
        await asyncio.sleep(0)
        return given[min(post.count, len(given)) - 1]

    post.count = 0
    return post


# Landing.


def test_every_question_lands_once_with_its_own_answer(simulator):
    """Answers go to the keys they belong to, with the provider's bytes and the time they took."""
    provider = simulator(latency_seconds=0.01)

    async def main():
        async with bench(provider) as at:
            at.live.add(asks(100))
            await at.live.finish()
        return at

    at = asyncio.run(main())

    assert {key_of(number): f"row {number}." for number in range(100)} == {
        key: one.outcome.text for key, one in at.landed.items()
    }
    assert [openai.decode(one.body) for one in at.landed.values()] == [one.outcome for one in at.landed.values()]
    assert all(0.009 < one.seconds < 1.0 for one in at.landed.values())
    assert 100 == at.live.requests == provider.bill.requests
    assert at.live.succeeded
    assert at.live.idle


def test_no_more_are_in_flight_than_may_be(simulator):
    """Neither more, nor, with enough to do, fewer."""
    provider = simulator(latency_seconds=0.02)

    async def main():
        async with bench(provider, concurrency=7) as at:
            at.live.add(asks(60))
            await at.live.finish()

    asyncio.run(main())

    assert 7 == provider.bill.most_in_flight


def test_a_place_is_held_until_the_commit(simulator):
    """While answers wait for the disk nothing more is sent, so a crash loses no more than was in flight."""
    provider = simulator()

    async def main():
        disk = asyncio.Event()
        async with bench(provider, concurrency=4) as at:
            at.before_landing = disk.wait
            at.gate.is_open = True
            at.live.add(asks(40))
            await until(lambda: provider.bill.requests == 4 and not provider.bill.in_flight)
            await asyncio.sleep(0.05)
            held = provider.bill.requests
            disk.set()
            await at.live.finish()
            return held

    assert 4 == asyncio.run(main())
    assert 40 == provider.bill.requests


@pytest.mark.parametrize(("places", "ahead"), [(1, 0), (3, 0), (15, 0), (16, 1), (31, 1), (32, 2), (160, 10)])
def test_one_place_in_sixteen_asks_on_while_the_disk_takes_its_time(places, ahead):
    """Each asks once, and so many once more, however fast the answers come; with the disk all go on, none lost."""

    async def main():
        disk = asyncio.Event()
        post = scripted(answer())
        at = Bench(post, concurrency=places)
        at.live.add(asks(1))
        await until(lambda: at.live.idle)  # the gate is open, and commits go one by one
        at.before_landing = disk.wait
        at.live.add(asks(500, start=1))
        end = asyncio.ensure_future(at.live.finish())
        await asyncio.sleep(1.0)
        waiting = post.count - 1
        disk.set()
        await end
        return at, waiting

    at, waiting = virtual.run(main())
    assert places + ahead == waiting
    assert 501 == len(at.landed)


@pytest.mark.parametrize("places", [10, 64])
def test_nothing_is_sent_once_a_commit_has_failed(places):
    """What was asked while it was under way arrives and lands; the rest says why it was not sent."""

    async def main():
        disk = asyncio.Event()
        post = scripted(answer())
        at = Bench(post, concurrency=places)

        def tell(group, error):
            assert isinstance(error, OSError)
            at.live.stop(Failure("StoreError", "full"))

        async def fail():
            await disk.wait()
            raise OSError

        at.live._commits._tell = tell
        at.before_landing = fail
        at.live.add(asks(500))
        end = asyncio.ensure_future(at.live.finish())
        await asyncio.sleep(1.0)
        before = post.count
        disk.set()
        await end
        return at, before, post.count

    at, before, after = virtual.run(main())
    assert places + places // 16 == before == after
    assert at.live.idle


def test_answers_share_commits_but_do_not_wait_for_long(simulator):
    """Those that come together land together, up to a limit; a single one lands by itself."""
    provider = simulator(latency_seconds=0.02)

    async def main():
        async with bench(provider, concurrency=200) as at:
            at.gate.is_open = True
            at.live.add(asks(200))
            await at.live.finish()
            many = list(map(len, at.groups))
            return many, at

    many, at = asyncio.run(main())

    assert 200 == len(at.landed)
    assert len(many) < 60
    assert max(many) <= GROUP


def test_bytes_are_kept_only_where_the_outcome_is(simulator):
    """A refusal is the row's for good and its bytes with it; what passes leaves none, and is told of where it cost."""
    faults = {"row 1.": "refusal", "row 2.": "500", "row 3.": "empty", "row 4.": "trunc_json"}
    provider = simulator(faults=Faults(by_text=faults))

    async def main():
        async with bench(provider) as at:
            at.live.add(asks(5))
            await at.live.finish()
        return at

    at = asyncio.run(main())

    kept = {int.from_bytes(key, "big"): one.body is not None for key, one in at.landed.items()}
    missed = Counter((int.from_bytes(one.key, "big"), one.failure.billing, bool(one.body)) for one in at.missed)
    assert {0: True, 1: True, 2: False, 3: False, 4: False} == kept
    assert {(3, "paid", True): 1, (4, "maybe", True): 2} == missed
    assert 2 == at.live.unsure
    assert {"ServerError": 3, "BadResponse": 1} == at.live.retries


def test_room_is_where_the_queue_is_short(simulator):
    """Whoever adds waits while more than a round of requests is queued, and goes on before it has run dry."""
    provider = simulator(latency_seconds=0.01)

    async def main():
        async with bench(provider, concurrency=5) as at:
            rooms = [at.live._room.is_set()]
            at.live.add(asks(100))
            rooms.append(at.live._room.is_set())
            await asyncio.wait_for(at.live.room(), 10)
            waiting = 100 - len(at.landed)
            at.live.add(asks(30, 100))
            await at.live.finish()
            return rooms, waiting, at

    rooms, waiting, at = asyncio.run(main())

    assert [True, False] == rooms
    assert 60 <= waiting <= 80
    assert 130 == len(at.landed)


def test_nothing_to_do_ends_at_once():
    """A run that knows everything has nothing to finish."""

    async def main():
        at = Bench(scripted(answer()))
        await asyncio.wait_for(at.live.finish(), 5)
        return at

    assert 0 == asyncio.run(main()).live.requests


# Waiting and trying again.


def test_who_waits_for_another_try_holds_no_place(simulator):
    """A row behind its timer lets the others through."""
    provider = simulator(faults=Faults(by_text={"row 1.": "500*1"}))

    async def main():
        async with bench(provider, concurrency=1) as at:
            at.live._uniform = lambda: 2.0  # times half a second
            at.live.add(asks(20))
            await until(lambda: len(at.landed) == 19)
            others = dict(at.kinds)
            await at.live.finish()
            return others, at

    others, at = asyncio.run(main())

    assert 1 not in others
    assert "answer" == at.kinds[1]


@pytest.mark.parametrize(("said", "low", "high"), [(0.2, 0.19, 2.0), (None, 0.0, 0.1), (61.0, 0.0, 0.1)])
def test_a_servers_word_on_waiting_counts_for_its_failures_too(said, low, high):
    """Retry-After of a 503 is waited for if it is not absurd; otherwise the wait is drawn."""
    busy = Failure("Overloaded", "busy", "free", status=503, wait_seconds=said)

    async def main():
        at = Bench(scripted(busy, answer()))
        began = asyncio.get_running_loop().time()
        at.live.add(asks(1))
        await at.live.finish()
        return asyncio.get_running_loop().time() - began, at

    took, at = asyncio.run(main())

    assert low <= took <= high
    assert {0: "answer"} == at.kinds


@pytest.mark.parametrize(
    ("failure", "requests"),
    [
        (Failure("ServerError", "oops", "free"), 4),
        (Failure("ServerError", "oops", "maybe"), 2),
        (Failure("ServerError", "oops", "free", again=False), 1),
        (Failure("BadRequest", "oops", "free", again=True), 4),
        (Failure("Timeout", "30 s", "maybe"), 2),
        (Failure("BadResponse", "too big", "paid"), 1),
        (Failure("ContextTooLong", "too long", "free"), 1),
    ],
)
def test_tries_are_counted_by_what_they_may_have_cost(failure, requests):
    """Free ones four times, doubtful ones twice, paid and hopeless ones once."""
    post = scripted(failure)

    async def main():
        at = Bench(post)
        at.gate.is_open = True
        at.live.add(asks(1))
        await at.live.finish()
        return at

    at = asyncio.run(main())

    assert requests == post.count == at.landed[key_of(0)].outcome.tries
    assert requests - 1 == sum(at.live.retries.values())


def test_rate_limits_between_failures_use_no_try():
    """However often a row is told to wait, its four tries are its own."""
    later = Failure("RateLimited", "rate limit", "free", status=429, wait_seconds=0.0)
    oops = Failure("ServerError", "oops", "free", status=500)
    post = scripted(later, later, oops, later, later, oops, later, later, oops, later, answer())

    async def main():
        at = Bench(post)
        at.gate.is_open = True
        at.live.add(asks(1))
        await at.live.finish()
        return at

    at = asyncio.run(main())

    assert {0: "answer"} == at.kinds
    assert 11 == post.count
    assert {"RateLimited": 7, "ServerError": 3} == at.live.retries


def test_seconds_are_those_of_the_last_attempt():
    """Neither the wait at the gate nor an earlier attempt is the provider's time."""

    async def post(content):
        post.count += 1
        await asyncio.sleep(0.2 if post.count == 1 else 0.01)
        return answer()

    post.count = 0

    async def main():
        at = Bench(post)
        at.live.add(asks(8))
        await at.live.finish()
        return sorted(one.seconds for one in at.landed.values())

    *rest, first = asyncio.run(main())

    assert first >= 0.19
    assert max(rest) < 0.15


def test_patience_counts_from_the_last_answer_of_any_kind():
    """A refusal is an answer too: a provider that refuses is not one that says nothing but "later"."""
    now = [0.0]
    later = Failure("RateLimited", "rate limit", "free", status=429, wait_seconds=0.0)
    said = Response("no")
    refused = Failure("Refused", "no", "paid", response=said)
    given = [later, refused] * 6

    async def post(content):
        now[0] += 60.0
        await asyncio.sleep(0)
        return Answer(200, {}, b"")

    async def main():
        at = Bench(post, read=lambda *_: given.pop(0), pace=Pace(lambda: now[0]), concurrency=1, patience=100.0)
        at.gate.is_open = True
        at.live.add(asks(6))
        await at.live.finish()
        return at

    at = asyncio.run(main())

    assert None is at.live.stopped
    assert dict.fromkeys(range(6), "Refused") == at.kinds


# Stopping.


def test_a_stop_lets_in_flight_ones_arrive(simulator):
    """What is under way gets its answer; what is queued, or waits for another try, lands unsent at once."""
    provider = simulator(latency_seconds=0.15, faults=Faults(by_text={"row 1.": "500"}))
    cause = Failure("AuthFailed", "key rejected")

    async def main():
        async with bench(provider, concurrency=3) as at:
            at.gate.is_open = True
            at.live._uniform = lambda: 1_000.0
            at.live.add(asks(20))
            await until(lambda: at.live.retries and provider.bill.in_flight == 3)
            at.live.stop(cause)
            at.live.stop(Failure("Cancelled", "too late to be the cause"))
            at.live.add(asks(5, 100))
            await asyncio.wait_for(at.live.finish(), 5)
        return at

    at = asyncio.run(main())

    sent = provider.bill.requests
    assert cause is at.live.stopped
    assert 25 == len(at.kinds)
    assert {"answer": sent - 1, "NotSent": 25 - (sent - 1)} == Counter(at.kinds.values())
    assert "NotSent" == at.kinds[1] == at.kinds[100]
    assert "NotSent: AuthFailed: key rejected" == str(at.landed[key_of(100)].outcome)
    assert [] == at.missed


def test_a_stop_wakes_who_waits_for_the_pace():
    """They have sent nothing, so nobody waits for them, and nothing is in doubt."""
    later = Failure("RateLimited", "rate limit", "free", status=429, wait_seconds=500.0)

    async def main():
        at = Bench(scripted(later), concurrency=4)
        at.gate.is_open = True
        at.live.add(asks(20))
        await until(lambda: at.pace.held)
        await asyncio.sleep(0.01)
        requests = at.live.requests
        at.live.stop(Failure("Cancelled", "interrupted"), Failure("Cancelled", "interrupted"))
        await asyncio.wait_for(at.live.finish(), 2)
        return requests, at

    requests, at = asyncio.run(main())

    assert dict.fromkeys(range(20), "Cancelled") == at.kinds
    assert requests == at.live.requests
    assert ([], 0) == (at.missed, at.live.unsure)


def test_a_stop_wakes_who_knocks_in_vain():
    """The first request waits between two attempts to connect: after a stop there is no other attempt."""
    unreached = Failure("ConnectFailed", "connection refused", "free")
    post = scripted(unreached)

    async def main():
        at = Bench(post, uniform=lambda: 1_000.0)
        at.live.add(asks(5))
        await until(lambda: post.count == 1)
        await asyncio.sleep(0.01)
        at.live.stop(Failure("Cancelled", "interrupted"))
        await asyncio.wait_for(at.live.finish(), 2)
        return at

    at = asyncio.run(main())

    assert 1 == post.count
    assert dict.fromkeys(range(5), "NotSent") == at.kinds


def test_a_rate_limit_after_the_stop_is_no_failure_of_the_row():
    """Told to wait when nobody waits any more: unsent, like the rest."""
    later = Failure("RateLimited", "rate limit", "free", status=429, wait_seconds=1.0)
    said = asyncio.Event()

    async def post(content):
        await said.wait()
        return later

    async def main():
        at = Bench(post)
        at.gate.is_open = True
        at.live.add(asks(1))
        await until(lambda: at.live.requests)
        at.live.stop(Failure("Cancelled", "interrupted"), Failure("Cancelled", "interrupted"))
        said.set()
        await asyncio.wait_for(at.live.finish(), 2)
        return at

    assert {0: "Cancelled"} == asyncio.run(main()).kinds


def test_abandoning_drops_only_what_was_sent(simulator):
    """In flight is in doubt and told of; who waits at the gate is merely unsent."""
    provider = simulator(faults=Faults(by_text={"row": "stall"}, stall_seconds=60.0))

    async def main():
        async with bench(provider, concurrency=5) as at:
            at.live.add(asks(5))
            await until(lambda: provider.bill.in_flight)
            at.live.stop(Failure("Cancelled", "interrupted"))
            at.live.abandon()
            await asyncio.wait_for(at.live.finish(), 5)
        return at

    at = asyncio.run(main())

    assert {0: "Cancelled", 1: "NotSent", 2: "NotSent", 3: "NotSent", 4: "NotSent"} == at.kinds
    assert [("Cancelled", "maybe")] == [(one.failure.type, one.failure.billing) for one in at.missed]
    assert 1 == at.live.unsure


# The gate.


def test_whoever_waits_at_the_gate_gets_its_fatal_answer():
    """Two runs, one gate: the second has sent nothing and ends with the first one's answer."""
    post = scripted(Failure("AuthFailed", "key rejected", "free", status=401))

    async def main():
        gate = Gate()
        first, second = Bench(post, gate=gate), Bench(post, gate=gate)
        first.live.add(asks(10))
        second.live.add(asks(10))
        await asyncio.gather(first.live.finish(), second.live.finish())
        return first, second, gate

    first, second, gate = asyncio.run(main())

    assert 1 == post.count == first.live.requests + second.live.requests
    assert "AuthFailed" == first.live.stopped.type == second.live.stopped.type
    assert not gate.is_open


@pytest.mark.parametrize(
    "failure",
    [
        Failure("RateLimited", "rate limit", "free", status=429, wait_seconds=0.0),
        Failure("ServerError", "oops", "free", status=500),
        Failure("ContextTooLong", "too long", "free", status=400),
        Failure("BadRequest", "again", "free", status=400, again=True),
    ],
    ids=lambda failure: failure.type,
)
def test_an_answer_that_is_not_fatal_opens_the_gate(failure):
    """Somebody is there and lets us in; the rest may go, all at once."""
    together = []

    async def post(content):
        post.count += 1
        if post.count == 1:
            return failure
        together.append(len(together) + 1)
        await asyncio.sleep(0.02)
        return answer()

    post.count = 0

    async def main():
        at = Bench(post, concurrency=10)
        at.live.add(asks(10))
        await until(lambda: together)
        await asyncio.sleep(0.005)
        at_once = len(together)
        await at.live.finish()
        return at_once, at

    at_once, at = asyncio.run(main())

    assert at_once >= 9
    assert at.gate.is_open
    assert None is at.live.stopped


@pytest.mark.parametrize("turns", range(12))
def test_a_question_that_comes_as_the_last_worker_leaves_is_sent(turns):
    """At whatever turn of the loop it is added, somebody is there to carry it."""

    async def main():
        here = asyncio.get_running_loop()
        added = asyncio.Event()

        def come(turns):
            if turns:
                here.call_soon(come, turns - 1)
            else:
                at.live.add(asks(1, 1))
                added.set()

        async def disk():
            at.before_landing = None
            come(turns)

        at = Bench(scripted(answer()), concurrency=1)
        at.gate.is_open = True
        at.before_landing = disk
        at.live.add(asks(1))
        await added.wait()
        await asyncio.wait_for(at.live.finish(), 2)
        return at

    assert {0: "answer", 1: "answer"} == asyncio.run(main()).kinds


# Outages, in virtual time.

OOPS = Failure("ServerError", "oops", "free", status=500)
LATE = Failure("Timeout", "30 s", "maybe")
UNREACHED = Failure("ConnectFailed", "connection refused", "free")
REFUSED = Failure("AuthFailed", "key rejected", "free", status=401)
HOUR = 3600.0


@pytest.mark.parametrize("failure", [OOPS, Failure("Overloaded", "busy", "free", status=529), UNREACHED])
def test_an_outage_of_an_hour_is_outlasted(failure):
    """No row fails by it, next to nothing is sent meanwhile, and the run goes on within five minutes of its end."""
    provider = Provider((10.0, 10.0 + HOUR, failure))

    at = outlast(provider, 400)

    assert dict.fromkeys(range(400), "answer") == at.kinds
    assert None is at.live.stopped
    assert provider.between(60.0, 10.0 + HOUR) <= 20
    assert HOUR < at.seconds < HOUR + 400.0
    assert any(wait and wait.startswith(f"{failure.type}: next try in ") for wait in at.waits)
    assert None is at.waits[-1]


def test_an_outage_does_not_multiply_requests():
    """Retries are a tenth of the requests and twenty; what was in flight when it began comes once more."""
    provider = Provider((10.0, 10.0 + HOUR, OOPS))

    at = outlast(provider, 1_000, concurrency=50)

    assert dict.fromkeys(range(1_000), "answer") == at.kinds
    assert len(provider.sent) <= 1_000 + 100 + 20 + 50 + 20


def test_an_outage_without_end_is_given_up():
    """After the patience the run stops; what was not answered is not sent, and can be asked again."""
    provider = Provider((10.0, float("inf"), OOPS))

    at = outlast(provider, 400, patience=HOUR)

    assert {"answer", "NotSent", "ServerError"} >= set(at.kinds.values())
    assert list(at.kinds.values()).count("ServerError") <= 1
    assert "ServerError" == at.live.stopped.type
    assert "NotSent: ServerError: oops" == str(at.live.unsent)
    assert HOUR <= at.seconds < HOUR + 60.0
    assert not at.gate.is_open


def test_attempts_that_may_have_been_billed_are_sent_once_more_at_most():
    """Also in an outage, in which next to nothing is sent."""
    provider = Provider((10.0, 10.0 + HOUR, LATE), latency=5.0)

    at = outlast(provider, 200)

    sent = Counter(at.kinds.values())
    assert {"answer", "Timeout"} >= set(sent)
    assert sent["Timeout"] <= 5
    assert at.live.unsure <= 40
    assert len(at.missed) == at.live.unsure
    assert max(one.failure.tries for one in at.missed) <= 2
    assert len(provider.sent) <= 200 + at.live.unsure


@pytest.mark.parametrize(("lasts", "kinds"), [(20.0, {"answer"}), (HOUR, {"answer", "NotSent", "AuthFailed"})])
def test_a_key_refused_after_answers_is_tried_three_times_more(lasts, kinds):
    """Gateways refuse good keys in outages of their own; a key that stays refused ends the run."""
    provider = Provider((10.0, 10.0 + lasts, REFUSED))

    at = outlast(provider, 400)

    assert kinds == set(at.kinds.values())
    assert provider.between(15.0, 10.0 + lasts) <= 3
    assert (None if lasts < 60 else "AuthFailed") == (at.live.stopped and at.live.stopped.type)


def test_a_key_refused_at_first_costs_one_request():
    """Nothing was answered yet: there is no reason to believe in it."""
    provider = Provider((0.0, HOUR, REFUSED))

    at = outlast(provider, 400)

    assert 1 == len(provider.sent)
    assert "AuthFailed" == at.live.stopped.type


def test_a_provider_that_answers_at_last_only_to_complain_is_back():
    """A probe that meets a rate limit or a bad row has met somebody."""
    limited = Failure("RateLimited", "rate limit", "free", status=429, wait_seconds=2.0)
    provider = Provider((10.0, 100.0, OOPS), (100.0, 140.0, limited))

    at = outlast(provider, 400)

    assert dict.fromkeys(range(400), "answer") == at.kinds
    assert at.seconds < 260.0


def test_a_stop_ends_an_outage():
    """Whoever waits for a probe is let go at once."""
    provider = Provider((10.0, float("inf"), OOPS))

    async def main():
        at = Bench(provider, patience=7200.0)
        at.live.add(asks(400))
        await asyncio.sleep(1_000.0)
        began = provider.now()
        at.live.stop(Failure("Cancelled", "interrupted"), Failure("Cancelled", "interrupted"))
        await at.live.finish()
        return at, provider.now() - began

    at, took = virtual.run(main())

    assert {"answer", "Cancelled"} == set(at.kinds.values())
    assert took < 2.0


def test_rows_that_fail_now_and_then_are_no_outage():
    """A third of all attempts fails for good: those rows say so, and the others are not kept waiting."""

    async def post(content):
        await asyncio.sleep(1.0)
        return OOPS if content.endswith((b'0."}]}', b'1."}]}', b'2."}]}')) else answer()

    post.now = lambda: asyncio.get_running_loop().time()
    at = outlast(post, 300, uniform=lambda: 0.7)

    assert {"answer": 210, "ServerError": 90} == Counter(at.kinds.values())
    assert [] == [wait for wait in at.waits if wait]
    assert sum(at.live.retries.values()) <= 20 + 0.1 * at.live.requests + 1


def test_an_answer_is_mended_once():
    """The body that asks for a better answer goes as a request of its own, and its answer is the row's."""
    posted = []

    async def post(content):
        posted.append(content)
        await asyncio.sleep(0.0)
        return answer("better" if content == b"mend" else "bad")

    def mend(ask, outcome, body):
        return b"mend" if outcome.text == "bad" else None

    post.now = lambda: 0.0
    at = outlast(post, 3, mend=mend)

    assert ["better"] * 3 == [one.outcome.text for one in at.landed.values()]
    assert 3 == posted.count(b"mend")
    assert 6 == len(posted)


def test_an_answer_that_cannot_be_mended_is_kept():
    """Where the second request fails the first answer stands: it was paid for."""

    async def post(content):
        await asyncio.sleep(0.0)
        return Failure("ContextTooLong", "too long", "free") if content == b"mend" else answer("bad")

    post.now = lambda: 0.0
    at = outlast(post, 3, mend=lambda ask, outcome, body: b"mend" if body else None)

    assert ["bad"] * 3 == [one.outcome.text for one in at.landed.values()]
    assert [None] * 3 == [one.body for one in at.landed.values()], "it is on disk already"


# What must not happen, and what happens then.


@pytest.mark.parametrize("count", [1, 2_000])
def test_an_answer_that_breaks_the_reader_is_heard_of(count):
    """An exception of our own making ends the run and is raised; nobody waits for ever, nothing more is sent."""
    post = scripted(answer())

    def read(status, headers, body):
        raise ZeroDivisionError

    async def main():
        at = Bench(post, read=read)
        at.gate.is_open = True
        at.live.add(asks(count))
        await asyncio.wait_for(at.live.room(), 5)
        at.live.add(asks(5, 10_000))
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(at.live.finish(), 5)

    asyncio.run(main())

    assert post.count <= 10


def test_a_landing_that_breaks_is_heard_of():
    """The same where an answer cannot be handed on."""
    post = scripted(answer())

    async def disk():
        raise ZeroDivisionError

    async def main():
        at = Bench(post)
        at.gate.is_open = True
        at.before_landing = disk
        at.live.add(asks(500))
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(at.live.finish(), 5)

    asyncio.run(main())

    assert post.count <= 20
