"""Gathering: samples to rows whatever their order, rows counted by who answered, failures held for the next model."""

from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.types import Failure, Response
from dfllm._run.desk import Settled
from dfllm._run.gathering import Count, Gather, Hold, SampleFailure, gathered, type_in
from dfllm._run.tallies import PlacesTally


class Rows:
    """A sink that remembers what each row was told."""

    def __init__(self):
        self.told = {}

    def fill(self, start, settled):
        """Take a window."""
        for row, one in enumerate(settled, start):
            if one is not None:
                self.put([row], one)

    def put(self, positions, settled):
        """Take one outcome."""
        for position in positions:
            assert position not in self.told
            self.told[position] = settled


def good(text="yes", **facts):
    """Return an answer."""
    response = Response(text, tokens_in=2, tokens_out=3, model="m")
    return Settled(text.encode(), response, (text,), **{"source": "live", "cost": 5, "seconds": 0.5, **facts})


def bad(kind="Refused", **facts):
    """Return a failure."""
    return Settled(b"bad", Failure(kind, "why", "paid"), None, **facts)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=8), st.integers(1, 4), st.randoms(use_true_random=False))
def test_a_row_is_told_once_when_all_its_samples_are_there(counts, each, random):
    """In sample order, whatever order they come in and however many the window knew."""
    rows, late, window = Rows(), [], []
    gather = Gather(rows, each)
    for row, known in enumerate(counts):
        samples = [good(f"{row}-{sample}") for sample in range(each)]
        at_once = set(random.sample(range(each), min(known, each)))
        window += [one if place in at_once else None for place, one in enumerate(samples)]
        late += [(row * each + place, one) for place, one in enumerate(samples) if place not in at_once]
    random.shuffle(late)

    gather.fill(0, window)
    for position, one in late:
        gather.put([position], one)

    assert {row: ([f"{row}-{sample}" for sample in range(each)],) for row in range(len(counts))} == {
        row: one.cells for row, one in rows.told.items()
    }


def test_a_gathered_row_has_sums():
    """Tokens, cost and seconds of all, and the first sample's key; live if any was asked now."""
    row = gathered([good("a", source="store"), good("b")])

    assert (b"a", (["a", "b"],), "live", 10, 1.0) == (row.key, row.cells, row.source, row.cost, row.seconds)
    assert (4, 6) == (row.outcome.tokens_in, row.outcome.tokens_out)
    assert gathered([good(cost=None), good()]).cost is None


def test_one_failed_sample_is_the_rows_failure():
    """The text counts, the type is the first one's."""
    row = gathered([good(), bad("Timeout"), bad()])

    assert "2 of 3 samples failed: Timeout: why (paid)" == str(row.outcome)
    assert ("Timeout", "Timeout", None) == (row.outcome.type, type_in(str(row.outcome)), row.cells)


def test_error_text_stays_short():
    """However long the first sample's is."""
    assert 300 == len(str(SampleFailure("Refused", "no " * 200, said="2 of 3 samples failed")))


def test_a_row_without_a_question_is_told_as_it_is():
    """It has no samples to count."""
    skipped = Settled(None, Failure("Skipped", "column 'x' is missing"), None)

    assert skipped is gathered([skipped, skipped])


def test_rows_count_for_the_model_that_answered():
    """And a failed one calls who wants to know."""
    tallies, heard = [PlacesTally(3), PlacesTally(0)], []
    count = Count(Rows(), tallies, lambda: heard.append("failed"))

    count.fill(0, [good(), None, good(by=1)])
    count.put([1], bad(by=1))

    assert [(1, 0), (1, 1)] == [(tally.ok, tally.failed) for tally in tallies]
    assert ["failed"] == heard


def test_failures_are_held_for_the_next_model():
    """Answers pass, what no model helps with passes, the rest waits and is told by the next, once."""
    rows, before = Rows(), {}
    first = Hold(rows, 0, None, before, last=False)
    first.fill(0, [good(), bad(), bad("Skipped"), None, bad()])
    first.put([3], bad("NotSent"))
    first.give_up(moves=True)
    second = Hold(rows, 1, first.held, before, last=True)

    second.fill(0, [good("else"), None, bad("Timeout")])
    second.put([1], bad("Timeout"))

    assert [1, 4, 3] == first.held
    assert {0: ("Response", 0), 1: ("Response", 1), 2: ("Skipped", 0), 3: ("Timeout", 1), 4: ("Refused", 0)} == {
        place: (getattr(one.outcome, "type", "Response"), one.by) for place, one in rows.told.items()
    }


def test_what_was_never_asked_ends_where_the_model_was_not_given_up():
    """As where the user stopped the run; what is held ends so too."""
    rows = Rows()
    hold = Hold(rows, 0, None, {}, last=False)
    hold.fill(0, [bad("NotSent"), bad("Timeout"), None])

    hold.give_up(moves=False)
    hold.drop(Failure("Cancelled", "interrupted"))

    assert {0: "NotSent", 1: "Cancelled"} == {place: one.outcome.type for place, one in rows.told.items()}
    assert [] == hold.held
