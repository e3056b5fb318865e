"""Our limiter against the four ways in which providers count a minute, in virtual time: what is promised of it.

The world, its rows and the same table for other libraries' rules are in tests/benchmarks/limiters.py.
"""

import pytest
from tests.benchmarks.limiters import SERVERS, Outcome, RateLimits, ours, play, rows_of

from dfllm._core import tempo

BUCKETS = ("bucket of 60 s", "bucket of 10 s")
COUNT = 600


def played(server: str, limits: dict, seed: int, tells: str = "all", count: int = COUNT, **told: float) -> Outcome:
    """Return what our limiter makes of so many rows."""
    return play(ours(**told), RateLimits(**limits, **SERVERS[server]), rows_of(count, seed), tells)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(("limits", "told"), [({"rpm": 120}, {"rpm": 120}), ({"tpm": 60_000}, {"tpm": 60_000})])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_limit_that_the_user_names_is_used_and_not_passed(server, limits, told, seed):
    """At least 98 % of it, and no refusal at all where it comes back evenly."""
    outcome = played(server, limits, seed, "wait", **told)

    assert outcome.lost == 0
    assert outcome.refused <= (0 if server in BUCKETS else 25)
    assert outcome.use >= (0.98 if server in BUCKETS else 0.90)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    "limits", [{"rpm": 120}, {"tpm": 60_000}, {"rpm": 120, "tpm": 60_000, "headers": "anthropic"}], ids=str
)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_limit_that_headers_state_is_used_and_not_passed(server, limits, seed):
    """What a full bucket holds beyond the pace is used as well."""
    outcome = played(server, limits, seed)

    assert outcome.lost == 0
    assert outcome.refused <= (0 if server in BUCKETS else 25)
    assert outcome.use >= (0.98 if server in BUCKETS else 0.90)


@pytest.mark.parametrize("seed", [1, 2])
def test_spare_capacity_that_headers_prove_is_used(seed):
    """A full bucket of a minute saves a minute: 600 requests at 120 take four minutes of pacing and not five."""
    outcome = played("bucket of 60 s", {"rpm": 120}, seed)

    span = COUNT / 120 * 60 / outcome.use
    assert span <= 1.03 * (COUNT - 120) / 120 * 60


@pytest.mark.parametrize("server", [name for name in SERVERS if name != "bucket of 10 s"])
def test_a_short_job_takes_seconds(server):
    """300 requests where 600 a minute are allowed: no longer than the slowest answer and a little more."""
    rows = rows_of(300)
    slowest = max(0.6 + 0.012 * row.tokens_out for row in rows)

    outcome = play(ours(), RateLimits(rpm=600, **SERVERS[server]), rows)

    assert outcome.refused == 0
    assert outcome.seconds < slowest + 4.0


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(("rpm", "count", "use"), [(60, 600, 0.7), (500, 3_000, 0.85)])
@pytest.mark.parametrize("rule", ["openai", "none"])
def test_a_limit_that_nobody_names_is_found(server, rpm, count, use, rule):
    """By doubling until refused, or from its first refusal on where none was to be expected; a few show where it is."""
    outcome = play(ours(rule=rule), RateLimits(rpm=rpm, **SERVERS[server]), rows_of(count, 1), "wait")

    assert outcome.lost == 0
    first_burst = 100 / count * 1000 if rule == "none" else 0
    assert outcome.refused <= 35 + first_burst
    assert outcome.use >= (use if rule == "openai" else 0.6)


def test_the_decrease_clock_counts_from_the_last_decrease(monkeypatch):
    """If each refusal began the second anew, a storm of them would be one piece of news: the rate would never fall."""
    refuse = tempo.Tempo.refuse

    def restarting(self, now, *rest):
        decreases = refuse(self, now, *rest)
        self._decreased_at = now
        return decreases

    def stormy() -> float:
        # Ten answers a second are refused, by a limit of which nobody says how long to wait for.
        made = tempo.Tempo(seeks=True)
        made.seeking.rate, made.seeking.peak = 100.0, 100.0
        made.begin(1_000.0)
        made.seeking.rate = 100.0
        for tenth in range(100):
            made.refuse(1_000.0 + tenth / 10, 0.0, (1.0, 0.0, 0.0))
        return made.seeking.rate

    right = stormy()
    monkeypatch.setattr(tempo.Tempo, "refuse", restarting)
    wrong = stormy()

    assert right < 25.0
    assert wrong > 80.0
