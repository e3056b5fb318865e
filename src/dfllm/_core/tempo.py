"""How fast a provider may be asked: its limits, what refusals teach about them, and when senders must hold.

- A known limit is paced at 99 % of it, whoever told us: the user first, else the answers' headers.
- A refusal (429) holds every sender for as long as it asks, empties the clocks, and lowers the rate: by 5 % where the
  limit is known, by 15 % where it is not. At most once a second, *counted from the last decrease*: a storm of refusals
  is one piece of news, but if the second began anew at each of them, the rate would never fall.
- After five quiet seconds each answer brings 0.2 % of a known rate back.
- What headers show to be left beyond our own level is proven: four fifths of it may be spent at once. They can lower
  the level, too. For 30 seconds after a refusal nothing is proven, and longer where limits come back in lumps.
- "Slow Down" puts the rate back to what it was before it rose, for fifteen minutes; then it rises slowly.

All of it is numbers, since the processes of a host share it: see `dump` and `load`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dfllm._core.clock import FULL_SECONDS
from dfllm._core.clocks import Clocks
from dfllm._core.seeking import Seeking

PACE = 0.99
#: Where no limit is known a burst is a fifth of a second's, so that a doubling comes gently.
_FULL_SECONDS_SEEKING = 0.2
_ONE_DECREASE_SECONDS = 1.0
_DECREASE = 0.95
_DEEPEST = 0.5
_IN_A_ROW_SECONDS = 2.0
_SOON_SECONDS = 30.0
_HELD_SHARE = 0.2
_FEW = 20.0
#: A longer wait shows that a limit does not come back steadily but in lumps; believed for two minutes.
_LUMP_SECONDS = 5.0
_LUMPY_SECONDS = 120.0
_LONGEST_PAUSE_SECONDS = 8.0
_QUIET_SECONDS = 5.0
#: A known limit is never used less than so much of, however often a provider refuses whatever the rate.
_LEAST_FACTOR = 0.1
_RECOVERY = 1.002
#: Near the rate that was refused last it comes back slowly, or it would be refused again and again.
_NEAR_REFUSED, _RECOVERY_NEAR_REFUSED = 0.98, 1.0002
_IDLE_SECONDS = 60.0
_PROVEN = 0.8
_UNPROVEN_SECONDS = 30.0
_UNPROVEN_WAITS = 10.0
_SLOW_SECONDS = 900.0
_SLOW_LOOK_SECONDS = 5.0
_SLOW_GROWTH = 1.005
#: Longer ago than matters.
_NEVER = -86_400.0


class Given(NamedTuple):
    """What the user says about the limits; None where that is nothing.

    Attributes:
        requests: a minute.
        tokens: a minute.
        share: of whatever a limit is, this much may be used.
    """

    requests: float | None = None
    tokens: float | None = None
    share: float = 1.0


class Left(NamedTuple):
    """What an answer says was left of a limit.

    Attributes:
        remaining: when the answer's request was counted.
        seconds: how long ago that request went.
        fewest: units charged since then, at least.
        most: the same, at most; None where it is not known.
        swell: how many times more the provider reserves for a request than we do.
    """

    remaining: float
    seconds: float
    fewest: float
    most: float | None
    swell: float = 1.0


class Tempo:
    """The rates and holds of one provider, model and key.

    Args:
        seeks: whether a limit is to be looked for where none is known.

    Attributes:
        clocks: when units may be used.
        stated: what headers say is allowed a minute of each; 0 is nothing.
        given: what the user says.
        seeking: the search for a limit.
        held_until: nobody may send before.
        refusals: how many there were.
        factor: how much of known limits is used, after refusals.
        refused_at: when the last refusal came.
        exhausted_at: when headers last showed that a limit was used up.
    """

    #: How many numbers `dump` gives.
    SIZE = 29

    def __init__(self, *, seeks: bool = False) -> None:
        self.clocks = Clocks()
        self.stated = [0.0, 0.0, 0.0]
        self.given = Given()
        self.seeking = Seeking()
        self.held_until = 0.0
        self.refusals = 0.0
        self.factor = 1.0
        self.refused_at = _NEVER
        self.exhausted_at = _NEVER
        self._seeks = seeks
        self._decreased_at = _NEVER
        self._measured_from = _NEVER
        self._has_found = False
        self._accepted = 0.0
        self._unproven_until = 0.0
        self._lumpy_until = 0.0
        self._in_a_row = 0.0
        self._refused_factor = 1.0
        self._ceiling = 0.0
        self._ceiling_at = 0.0

    @property
    def known(self) -> bool:
        """Whether any limit is stated or given."""
        return any(self.stated) or self.given.requests is not None or self.given.tokens is not None

    def is_steady(self, now: float) -> bool:
        """Whether only the clocks change: a limit is known, and nothing is left of any refusal."""
        return self.factor == 1.0 and not self._ceiling and self.held_until <= now and self.known

    def whole(self, place: int) -> float:
        """Return this limit, a minute; 0 where none is known."""
        given = self.given[place] if place < 2 else None
        return given if given is not None else self.stated[place]

    def limit(self, place: int) -> float:
        """Return what may be used of it."""
        return self.whole(place) * self.given.share

    def begin(self, now: float) -> None:
        """Begin to send, perhaps after a pause."""
        requests = self.clocks.all[0]
        idle_since = max(requests.tat, self.seeking.looked_at)
        if self._seeks and (self.seeking.rate == 0.0 or now - idle_since > _IDLE_SECONDS):
            self.seeking.begin(now, requests.spent)
        self.tune()

    def seek(self, now: float, rate: float) -> None:
        """Begin to look for a limit, from so many requests a second on."""
        self._seeks = True
        if self.seeking.rate == 0.0:
            self.seeking.begin(now, self.clocks.all[0].spent)
            self.seeking.rate = rate
        self.tune()

    def tune(self) -> None:
        """Set the clocks to what is known now."""
        seeks = self._seeks and not self.known
        rates = [self.limit(place) / 60.0 * PACE * self.factor for place in range(3)]
        if seeks:
            rates[0] = self.seeking.rate
        if self._ceiling:
            rates[0] = min(rates[0] or self._ceiling, self._ceiling)
        self.clocks.set(rates, _FULL_SECONDS_SEEKING if seeks else FULL_SECONDS)

    def succeed(self, now: float) -> None:
        """Hear of an answer."""
        if self.factor < 1.0:
            if now - self.refused_at >= _QUIET_SECONDS:
                near = self.factor >= _NEAR_REFUSED * self._refused_factor
                self.factor = min(1.0, self.factor * (_RECOVERY_NEAR_REFUSED if near else _RECOVERY))
                self.tune()
        elif self._seeks and not self.known and self.seeking.grow(now, self.clocks.all[0].spent):
            self.tune()
        if self._ceiling and now - self._ceiling_at >= _SLOW_LOOK_SECONDS:
            self._ceiling_at = now
            self._ceiling *= _SLOW_GROWTH
            if 0.0 < self.limit(0) / 60.0 < self._ceiling:
                self._ceiling = 0.0
            self.tune()

    def refuse(self, now: float, until: float, left: Sequence[float], minute: float = 0.0) -> bool:
        """Hear of a refusal; return whether the rate was lowered.

        Args:
            now: the time.
            until: when senders may go on.
            left: what the clocks hold then: one request, since that is what the wait was for.
            minute: requests accepted within the last minute.
        """
        self.refusals += 1.0
        self.refused_at = now
        if until - now > _LUMP_SECONDS:
            self._lumpy_until = now + _LUMPY_SECONDS
        # What comes back in lumps must not be spent in bursts: each would make one more.
        unproven_seconds = max(_UNPROVEN_SECONDS, _UNPROVEN_WAITS * (until - now))
        self._unproven_until = max(self._unproven_until, now + unproven_seconds)
        decreases = now - self._decreased_at >= _ONE_DECREASE_SECONDS
        if decreases:
            is_in_a_row = now - max(self._decreased_at, self.held_until) < _IN_A_ROW_SECONDS
            self._in_a_row = self._in_a_row + 1.0 if is_in_a_row else 0.0
            self._decrease(now, minute)
            self._decreased_at = now
            if not is_in_a_row:
                self._measured_from, self._accepted = now, self.clocks.all[0].spent - self.refusals
            if self._seeks and not self.known:
                until = max(until, now + self._pause(now))
            self.tune()
        self.held_until = max(self.held_until, until)
        for place, clock in self.clocks.active:
            clock.empty(self.held_until, left[place])
        return decreases

    def _pause(self, now: float) -> float:
        """Return how long to hold at least, where the limit is not known and may be far below: until it is found."""
        if not self._in_a_row:
            return 0.0 if self._has_found else _ONE_DECREASE_SECONDS
        return min(_LONGEST_PAUSE_SECONDS, 2.0**self._in_a_row) if now < self._lumpy_until else _ONE_DECREASE_SECONDS

    def _decrease(self, now: float, minute: float) -> None:
        requests = self.clocks.all[0]
        seconds = now - self._measured_from
        accepted = None
        # A limit that was used up then as it is now has let through just what it allows. After a long hold that says
        # how long the hold was and no more, and few requests say little.
        is_steady = self.held_until - self._measured_from <= max(_LUMP_SECONDS, _HELD_SHARE * seconds) or self._in_a_row
        if is_steady and requests.rate * seconds >= _FEW:
            accepted = (requests.spent - self.refusals - self._accepted) / seconds
        if self.known:
            lower = _DECREASE
            is_explained = now - self.exhausted_at <= _ONE_DECREASE_SECONDS
            if accepted is not None and seconds < _SOON_SECONDS and not is_explained:
                # Refused twice in half a minute, and no header shows why: the limit is another than the one we know.
                lower = min(lower, max(_DEEPEST, accepted / requests.rate))
            is_one_event = now - self._decreased_at < _SOON_SECONDS
            self._refused_factor = max(self.factor, self._refused_factor if is_one_event else 0.0)
            self.factor = max(_LEAST_FACTOR, self.factor * lower)
        elif self._seeks:
            self._has_found = self.seeking.peak > 0.0
            comes_in_lumps = now < self._lumpy_until and minute >= _FEW
            self.seeking.refuse(now, accepted, minute / 60.0 if comes_in_lumps else None)

    def state(self, place: int, limit: float) -> bool:
        """Hear what an answer says is allowed a minute; return whether that is news."""
        if limit == self.stated[place]:
            return False
        self.stated[place] = limit
        self.tune()
        return True

    def correct(self, now: float, place: int, left: Left) -> None:
        """Hear what an answer says was left of a limit."""
        clock = self.clocks.all[place]
        if not clock.rate:
            return
        whole = self.stated[place] or self.whole(place)
        # Where no limit a minute is known, what was left is all that there is to go by.
        refilled = min(left.remaining + whole / 60.0 * left.seconds, whole) if whole else left.remaining
        clock.cap(now, refilled - left.fewest)
        if left.most is None or not whole:
            return
        clock.most = max(0.0, refilled - left.most) / left.swell
        ours = min(1.0, self.limit(place) / whole)
        spare = left.remaining / left.swell * ours - left.most - clock.level(now)
        if spare > clock.rate and now >= self._unproven_until:
            clock.lift(now, spare * _PROVEN)

    def slow_down(self, now: float, before: float) -> None:
        """Hear "Slow Down": go back to so many requests a second."""
        self._ceiling = before
        self._ceiling_at = now + _SLOW_SECONDS
        self.tune()
        self.clocks.all[0].cap(now, 1.0)

    def dump(self) -> tuple[float, ...]:
        """Return all of it as numbers."""
        seeking, (a, b, c) = self.seeking, self.clocks.all
        return (
            *(self.held_until, self.refusals, self.factor, self._decreased_at, self.refused_at, self._accepted),
            self._measured_from,
            *(self._unproven_until, self._lumpy_until, self._in_a_row, self._refused_factor),
            *(self._ceiling, self._ceiling_at),
            *(seeking.rate, seeking.peak, seeking.looked_at, seeking.spent),
            *(a.tat, a.credit, a.spent, b.tat, b.credit, b.spent, c.tat, c.credit, c.spent, *self.stated),
        )

    def load(self, numbers: Sequence[float]) -> None:
        """Take over what another process has dumped."""
        before = (self.factor, self._ceiling, self.seeking.rate, *self.stated)
        seeking, (a, b, c), stated = self.seeking, self.clocks.all, self.stated
        self.held_until, self.refusals, self.factor = numbers[:3]
        self._decreased_at, self.refused_at, self._accepted, self._measured_from, self._unproven_until = numbers[3:8]
        self._lumpy_until, self._in_a_row, self._refused_factor, self._ceiling, self._ceiling_at = numbers[8:13]
        seeking.rate, seeking.peak, seeking.looked_at, seeking.spent = numbers[13:17]
        a.tat, a.credit, a.spent, b.tat, b.credit, b.spent, c.tat, c.credit, c.spent = numbers[17:26]
        stated[:] = numbers[26:]
        if before != (self.factor, self._ceiling, seeking.rate, *stated):
            self.tune()
