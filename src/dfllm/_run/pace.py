"""Pace: when the next request may go. All senders to one provider, model and key wait here, and nowhere else.

The rules are in `_core`: `tempo` has the rates, `charges` what a request takes, `flight` how many may be under way.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping

from dfllm._core.charges import Charges, Rule, Units
from dfllm._core.flight import USUAL, Flight
from dfllm._core.meter import LimitUse, Meter, Source
from dfllm._core.tempo import Given, Tempo
from dfllm._core.types import Response
from dfllm._run.gate import Gate
from dfllm._run.hearing import Hearing
from dfllm._run.lease import Lease, Shared
from dfllm._run.line import EARLY_SECONDS, Line, Ticket, Turn, Waiter
from dfllm._run.seat import FREE, Seat, TooLarge
from dfllm._wire.providers import Window
from dfllm._wire.ratelimits import read

__all__ = ["Gate", "LimitUse", "Pace", "Seat", "Ticket", "TooLarge"]

_FIRST_HOLD_SECONDS = 1.0
_LONGEST_HOLD_SECONDS = 60.0
#: Where no clock spaces them, those who were held go over so much of the hold's length, not all at once.
_SPREAD = 0.25
_MEAN_WEIGHT = 0.1
#: Fifty answers a second say as much about limits and latency as all of them.
_LOOK_SECONDS = 0.02
_JUST_REFUSED_SECONDS = 1.0
#: A server of one's own that refuses one of fewer requests is busy; one that refuses after so many has a limit.
_MANY = 20
_SLOW_SECONDS = 900.0
_SWELL_WEIGHT = 0.3
#: Products of floats are a hair off: 0.7 of 70 are 49.
_HAIR = 1e-6


class Pace:
    """Where all requests to one provider, model and key get their time. All of it happens on one event loop.

    Args:
        clock: a monotonic clock, in seconds.
        uniform: a random number in [0, 1).
        rule: what the provider counts; none for a server of one's own, where no limit is to be expected.
        share: makes what keeps a tempo together with the host's other processes, while it is entered; called once
            there is a rate to share.

    Attributes:
        in_flight: requests under way.
        went: requests that went free since the first run of those under way began.
        free: whether requests may go without being charged: there is no limit, no hold and no line.
        calm: whether an answer would be no news.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[], float] = random.random,
        *,
        rule: Rule = "none",
        requests_per: Window = "minute",
        share: Callable[[Tempo], Shared | None] | None = None,
    ) -> None:
        self._clock = clock
        self._uniform = uniform
        self._rule: Rule = rule
        self._seeks = rule != "none"
        self._tempo = Tempo(seeks=self._seeks)
        self._share = share
        self._shared = Lease(self._tempo, clock)
        self._flight = Flight()
        self._meter = Meter()
        self._hearing = Hearing(self._tempo, requests_per)
        self._line = Line(clock, self._reserve)
        self._seats: dict[Seat, Given] = {}
        self._mean = [1.0, 0.0, 0.0]
        self._swell = 1.5
        self._lent = 0
        self._looked_at = -math.inf
        self._hold_seconds = 0.0
        self._limited_since: float | None = None
        self._spread_until = 0.0
        self._next_at = 0.0
        self._joined_at = clock()
        self.in_flight = 0
        self.went = 0
        self.free = not self._seeks
        self.calm = True

    @property
    def held(self) -> bool:
        """Whether senders have to wait now."""
        return self._tempo.held_until > self._clock()

    def use(self) -> LimitUse:
        """Return what is known of the limits, and how they were used since the first run of those under way began."""
        tempo = self._tempo
        found = not tempo.known and tempo.seeking.peak > 0.0
        limits = (tempo.seeking.peak * 60.0, 0.0, 0.0) if found else (tempo.limit(0), tempo.limit(1), tempo.limit(2))
        given = tempo.given.requests is not None or tempo.given.tokens is not None
        source: Source | None = "given" if given else "stated" if tempo.known else "found" if found else None
        return self._meter.use(self._clock(), limits, source)

    # What a run says.

    def join(
        self,
        *,
        concurrency: int | None = None,
        rpm: float | None = None,
        tpm: float | None = None,
        share: float | None = None,
    ) -> Seat:
        """Return one more run's place.

        Args:
            concurrency: the most requests it may have in flight; None is as many as are of use.
            rpm: requests a minute, where the user knows better than the provider says.
            tpm: tokens a minute, likewise.
            share: how much of any limit may be used.
        """
        if not self._seats:
            self.went, self._joined_at = 0, self._clock()
            self._meter = Meter()  # what nobody used between two runs is not theirs to answer for
        seat = Seat(self, Charges(self._rule), concurrency)
        self._seats[seat] = Given(rpm, tpm, 1.0 if share is None else share)
        self._heed()
        return seat

    def dismiss(self, seat: Seat) -> None:
        """End a run's place."""
        self._seats.pop(seat, None)
        if not self._seats:
            with self._shared:  # what was used last is entered now: nobody may come to do it later
                pass
        self._heed()

    def limited(self, wait_seconds: float | None) -> float:
        """Hear of a 429: hold all senders for as long as it asks, else twice as long as the last time.

        Returns:
            Seconds since the first 429 after the last success.
        """
        now = self._clock()
        tempo = self._tempo
        if not self._seeks and not tempo.known and self.went >= _MANY:
            self._begin_to_seek(now)
        if self._limited_since is None:
            self._limited_since = now
        with self._shared:
            if wait_seconds is None:
                if tempo.held_until <= now:
                    doubled = max(_FIRST_HOLD_SECONDS, 2 * self._hold_seconds)
                    self._hold_seconds = min(_LONGEST_HOLD_SECONDS, doubled)
                wait_seconds = self._hold_seconds
            self._meter.refuse(now, tempo.held_until, now + wait_seconds)
            tempo.refuse(now, now + wait_seconds, self._mean, self._hearing.accepted(now))
        self._spread_until = max(self._spread_until, tempo.held_until + _SPREAD * wait_seconds)
        self.free = self.calm = False
        self._resize(now)
        return now - self._limited_since

    def _begin_to_seek(self, now: float) -> None:
        """Look for a limit where none was to be expected, from the rate at which it was met: a gateway has one."""
        self._seeks = True
        self._tempo.seek(now, max(1.0, self.went / max(1.0, now - self._joined_at)))
        self._heed()

    def overloaded(self, *, slow_down: bool) -> None:
        """Hear of a 529 or 503: fewer at once. After "Slow Down" the rate goes back as well, for 15 minutes."""
        now = self._clock()
        room = sum(seat.places for seat in self._seats) or 1
        self._flight.cut(now, min(1.0, self.in_flight / room), _SLOW_SECONDS if slow_down else 0.0)
        self.calm = False
        rate = self._tempo.clocks.rate(self._mean)
        if slow_down and rate is not None:
            with self._shared:
                self._tempo.slow_down(now, min(self._meter.steady_rate(now) or rate / 2.0, rate))
        self._resize(now)

    # What a seat asks for.

    def take(self, seat: Seat, size: int, max_tokens: int | None) -> Ticket | None:
        """Return a ticket if a request may go at once."""
        tempo, line = self._tempo, self._line
        now = self._clock()
        if line.length or tempo.held_until > now:
            return None
        ticket = self._ticket(seat.charges, size, max_tokens, now)
        with self._shared.loosely(now, ticket.units):
            if tempo.held_until > now or not tempo.clocks.fits(now, ticket.units):
                return None
            self._charge(ticket, now)
        line.pass_by(seat, tempo.clocks.cost(ticket.units))
        self._count_in(seat, ticket, now)
        self.free = not tempo.clocks.active
        return ticket

    def queue(self, waiter: Waiter) -> None:
        """Put a request in line."""
        self.free = False
        self._line.join(waiter)
        if self._line.head is None:
            self._serve()

    def unqueue(self, waiter: Waiter) -> None:
        """Hear that a request does not go after all, whether it still waits or has its ticket."""
        ticket = waiter.ticket
        if ticket is not None:
            if waiter.has_left:
                waiter.turn.in_flight -= 1
                self.in_flight -= 1
                self._lent -= ticket.is_lent
            with self._shared:
                self._tempo.clocks.refund(self._clock(), ticket.units)
        self._line.leave(waiter)
        self._serve()

    def settle(
        self,
        seat: Seat,
        ticket: Ticket,
        response: Response | None,
        headers: Mapping[str, str],
        seconds: float,
        *,
        ok: bool,
    ) -> None:
        """Hear how a request ended."""
        now = self._clock()
        self._lent -= ticket.is_lent
        looks = not ok or now - self._looked_at >= _LOOK_SECONDS
        stated = read(headers) if looks else None
        learned = False
        charged = ticket is not FREE
        used = seat.charges.learn(ticket.size, response) if charged and response is not None else None
        with self._shared if looks else self._shared.loosely(now, used or ticket.units):
            if charged:
                self._take_back(seat.charges, ticket, used, now, answered=not ok and bool(headers))
            if ok:
                self._tempo.succeed(now)
            if stated is not None:
                learned = self._hearing.learn(stated, now)
                if ok:
                    self._hearing.correct(stated, now, seconds, self._swell)
        if ok:
            self._hold_seconds, self._limited_since = 0.0, None
            self._flight.heal(now, self.in_flight)
            self.calm = self._flight.share == 1.0
        if learned:
            self._heed()
        if self._line.head is not None:
            self._serve()
        if looks:
            self._looked_at = now
            if ok:
                self._flight.learn(seconds)
            self._resize(now)

    def _take_back(self, charges: Charges, ticket: Ticket, used: Units | None, now: float, *, answered: bool) -> None:
        """Settle what a request was charged with what it used."""
        taken, tempo = ticket.units, self._tempo
        if used is not None:
            mean = self._mean
            mean[1] += _MEAN_WEIGHT * (used[1] - mean[1])
            mean[2] += _MEAN_WEIGHT * (used[2] - mean[2])
            tempo.clocks.refund(now, (0.0, taken[1] - used[1], taken[2] - used[2]))
        elif answered and now - tempo.refused_at > _JUST_REFUSED_SECONDS:
            # After a 429 the clocks are empty, and what it used is not ours to guess.
            tempo.clocks.refund(now, charges.failed(taken))

    # The work.

    def _ticket(self, charges: Charges, size: int, max_tokens: int | None, now: float) -> Ticket:
        """Return the ticket of a request, not yet charged.

        Raises:
            TooLarge: it is more than a whole minute of the limit.
        """
        limit = self._tempo.whole(1)
        if limit and size + (max_tokens or 0) > limit and (least := charges.least(size, max_tokens)) > limit:
            raise TooLarge(least, limit)
        return Ticket(size, charges.ahead(size, charges.output(max_tokens)), now, max_tokens)

    def _charge(self, ticket: Ticket, now: float) -> float:
        """Charge a request, and return when it may go."""
        clocks = self._tempo.clocks
        self._hearing.mark(now)
        ticket.is_lent = clocks.lend(ticket.units)
        return clocks.charge(now, ticket.units)

    def _reserve(self, waiter: Waiter) -> float:
        """Give the head of the line its ticket and its time; return its cost."""
        now = self._clock()
        ticket = waiter.ticket = self._ticket(waiter.turn.charges, waiter.size, waiter.max_tokens, now)
        waiter.at = self._charge(ticket, now)
        return self._tempo.clocks.cost(ticket.units)

    def _count_in(self, turn: Turn, ticket: Ticket, now: float) -> None:
        turn.in_flight += 1
        self.in_flight += 1
        self._lent += ticket.is_lent
        self._meter.send(now, ticket.units)
        if not self._meter.requests & 15:
            self._swell += _SWELL_WEIGHT * (
                turn.charges.swell(ticket.size, ticket.max_tokens, ticket.units) - self._swell
            )

    def _serve(self) -> None:
        """Let all go whose time has come, and set the timer for the next."""
        now = self._clock()
        line, tempo = self._line, self._tempo
        at = None
        with self._shared:
            while (head := line.next()) is not None:
                ticket = head.ticket
                assert ticket is not None
                if head.future.done():  # cancelled, and about to say so itself
                    tempo.clocks.refund(now, ticket.units)
                    head.ticket = None
                    line.leave(head)
                    continue
                at = max(min(head.at, tempo.clocks.again(now, ticket.units)), tempo.held_until, self._next_at)
                if at > now + EARLY_SECONDS:
                    break
                at = None
                line.leave(head)
                head.future.set_result(ticket)
                self._count_in(head.turn, ticket, now)
                if not tempo.clocks.active and (left := self._spread_until - now) > 0.0:
                    self._next_at = now + self._uniform() * left / max(1, line.length)
        line.wake(at, self._serve)
        if at is None:
            self.free = not tempo.clocks.active and not self._seeks

    def _heed(self) -> None:
        """Take over what the users say, and share what there is to share."""
        if not self._seats:
            return  # what comes in late changes nothing until the next run
        now = self._clock()
        given = list(self._seats.values())
        tempo = self._tempo
        tempo.given = Given(
            min((one.requests for one in given if one.requests is not None), default=None),
            min((one.tokens for one in given if one.tokens is not None), default=None),
            min(one.share for one in given),
        )
        if self._share is not None and (self._seeks or tempo.known):
            self._shared.share(self._share(tempo))
            self._share = None
        with self._shared:
            tempo.begin(now)
            if tempo.clocks.active and not self.in_flight:
                self._hearing.begin()
        self.free = self.free and not tempo.clocks.active
        self._resize(now)

    def _resize(self, now: float) -> None:
        """Tell each run how many requests it may have in flight."""
        tempo, flight = self._tempo, self._flight
        rate = tempo.clocks.rate(self._mean)
        if self._seeks and not tempo.known and not tempo.seeking.peak:
            usual = flight.by_trying(now, self.in_flight) / max(1, len(self._seats))
        elif rate is not None:
            usual = flight.by_rate(rate) + self._lent + tempo.clocks.lendable(self._mean)
        else:
            usual = math.inf
        for seat in self._seats:
            most = seat.most if seat.most is not None else USUAL if usual == math.inf else usual
            places = max(1, int(min(usual, most) * flight.share + _HAIR))
            has_grown, seat.places = places > seat.places, places
            if has_grown:
                seat.on_more()
