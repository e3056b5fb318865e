"""Tasks on frames: a row asked in both orders is one row, whenever and in whatever pieces its two outcomes come."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.plan import Plan
from dfllm._core.tasks import TURNED
from dfllm._core.types import Failure, Response
from dfllm._run.desk import Settled
from dfllm._tasks import Pairs, PairTally, doubled, halved, verdict

WORDS = ("first", "second", "tie")


def answer(word, key=b"k", *, cost=1_000, source="live", seconds=0.5):
    """Return the outcome of one order."""
    return Settled(key, Response(word, tokens_in=10, tokens_out=2, model="m"), (word,), source, seconds, cost)


def failure(kind="Refused", *, source="live"):
    """Return one that is none."""
    return Settled(b"f", Failure(kind, "no", "paid"), None, source, 0.25, 100)


class Rows:
    """A sink that writes down what every row got, and in which windows."""

    def __init__(self):
        self.got = {}
        self.windows = []

    def fill(self, start, settled):
        self.windows.append((start, len(settled)))
        for place, one in enumerate(settled, start):
            if one is not None:
                self.take(place, one)

    def put(self, positions, settled):
        for position in positions:
            self.take(position, settled)

    def take(self, position, one):
        assert position not in self.got
        self.got[position] = one.outcome.type if isinstance(one.outcome, Failure) else one.cells[0]


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ("first", "second", "a"),
        ("second", "first", "b"),
        ("tie", "tie", "tie"),
        ("first", "first", "tie"),
        ("second", "second", "tie"),
        ("first", "tie", "tie"),
        ("tie", "first", "tie"),
        ("tie", "second", "tie"),
    ],
)
def test_only_what_wins_in_both_orders_wins(first, second, winner):
    """In the second order the texts have changed places; where the two do not agree, it is a tie."""
    one = verdict(answer(first), answer(second))

    assert ((winner,), winner) == (one.cells, one.outcome.text)


def test_what_stands_behind_a_verdict_is_that_of_both():
    """Tokens, cost and seconds are sums; the key is that of the first order."""
    one = verdict(answer("first", b"1"), answer("second", b"2", source="store"))

    assert (b"1", "live", 1.0, 2_000) == (one.key, one.source, one.seconds, one.cost)
    assert (20, 4, "m") == (one.outcome.tokens_in, one.outcome.tokens_out, one.outcome.model)
    assert "store" == verdict(answer("first", source="store"), answer("second", source="store")).source


def test_a_cost_that_is_half_unknown_is_unknown():
    """A sum of what is known would look like the whole."""
    assert verdict(answer("first"), answer("second", cost=None)).cost is None


@pytest.mark.parametrize("pair", [(answer("first"), failure()), (failure(), answer("first"))])
def test_a_failure_of_either_order_is_the_rows(pair):
    """Half a verdict is none; what the other half cost is counted."""
    one = verdict(*pair)

    assert ("Refused", None, 1_100, 10) == (one.outcome.type, one.cells, one.cost, one.outcome.response.tokens_in)


def test_a_row_that_was_not_sent_has_no_cost():
    """Skipped is skipped, in both orders."""
    skipped = Settled(None, Failure("Skipped", "column 'a' is missing"), None)

    assert skipped == verdict(skipped, skipped)


@given(st.data())
def test_every_row_gets_its_own_pair_in_any_order_and_any_windows(data):
    """Windows may be of any size and end within a pair; later outcomes may come in any order, several at once."""
    rows = data.draw(st.integers(0, 8))
    halves = [
        answer(data.draw(st.sampled_from(WORDS))) if data.draw(st.integers(0, 4)) else failure()
        for _ in range(2 * rows)
    ]
    expected = {}
    for row in range(rows):
        one = verdict(halves[2 * row], halves[2 * row + 1])
        expected[row] = one.outcome.type if isinstance(one.outcome, Failure) else one.cells[0]
    known = data.draw(st.lists(st.booleans(), min_size=2 * rows, max_size=2 * rows))
    sink, tally, late, start = Rows(), PairTally(rows), [], 0
    pairs = Pairs(sink, tally)

    while start < 2 * rows:
        stop = data.draw(st.integers(start + 1, 2 * rows))
        pairs.fill(start, [halves[place] if known[place] else None for place in range(start, stop)])
        late += [place for place in range(start, stop) if not known[place]]
        while late and data.draw(st.booleans()):
            place = late.pop(data.draw(st.integers(0, len(late) - 1)))
            pairs.put([place], halves[place])
        start = stop
    for place in data.draw(st.permutations(late)):
        pairs.put([place], halves[place])

    ends = [start + size for start, size in sink.windows]
    assert expected == sink.got
    assert [0, *ends] == [*(start for start, _ in sink.windows), rows]
    assert (rows, sum(kind == "Refused" for kind in expected.values())) == (tally.done, tally.failed)
    assert tally.failed == tally.count([])
    assert 0 == tally.count([])


def test_one_answer_may_be_that_of_both_orders():
    """Equal texts make equal questions, asked once."""
    sink = Rows()
    pairs = Pairs(sink, PairTally(1))

    pairs.fill(0, [None, None])
    pairs.put([0, 1], answer("first"))

    assert {0: "tie"} == sink.got


def test_a_doubled_frame_has_each_row_twice():
    """The second time its texts are to change places; the frame itself stays as it is."""
    frame = pd.DataFrame({"a": ["x", "y"], 5: [1, 2]}, index=[7, 7])

    twice = doubled(frame)

    assert ["x", "x", "y", "y"] == twice["a"].tolist()
    assert [False, True, False, True] == twice[TURNED].tolist()
    assert ["a", 5] == list(frame.columns)
    assert 0 == len(doubled(frame.head(0)))


def test_a_halved_plan_counts_rows_once_and_questions_as_they_are():
    """A row that cannot be sent is one problem, in either order."""
    problems = ((2, "BadInput: a"), (3, "BadInput: b"), (6, "BadInput: c"))

    plan = halved(Plan("m", rows=8, distinct=4, known=1, missing=3, skipped=2, failed=4, problems=problems))

    assert (4, 4, 1, 3, 1, 2) == (plan.rows, plan.distinct, plan.known, plan.missing, plan.skipped, plan.failed)
    assert ((1, "BadInput: a"), (3, "BadInput: c")) == plan.problems
