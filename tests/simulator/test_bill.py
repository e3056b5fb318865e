"""The bill counts every call, and keeps what it counted."""

import pytest

from dfllm.simulator.bill import Bill, Entry
from dfllm.simulator.ledger import Ledger, Line

PAID = Line("a", 200, 1, 1, 10, 5)
FREE = Line("a", 429, 1, 0, 0, 0)


@pytest.fixture(params=["memory", "disk"])
def bill(request, tmp_path):
    """Return an empty bill, of both kinds."""
    return Bill(tmp_path / "bill" if request.param == "disk" else None)


def test_entries_add_up(bill):
    """Each request hash has one entry, which knows how its calls ended."""
    for line in (FREE, PAID, PAID, Line("b", 0, 1, 1, 7, 3)):
        bill.charge(line)

    assert {
        "a": Entry(calls=3, billed=2, prompt_tokens=20, completion_tokens=10, statuses={200: 2, 429: 1}),
        "b": Entry(calls=1, billed=1, prompt_tokens=7, completion_tokens=3, statuses={0: 1}),
    } == bill.entries()


def test_totals_are_the_sums(bill):
    """Totals are the sums over the entries, saved or not."""
    bill.charge(PAID)
    bill.save()
    bill.charge(FREE)

    assert (2, 1, 1, 10, 5) == (
        bill.requests,
        bill.billed,
        bill.distinct,
        bill.prompt_tokens,
        bill.completion_tokens,
    )


def test_attempts_are_counted_by_hash(bill):
    """Each hash has attempts of its own, counted from 1."""
    attempts = [bill.enter(request_hash) for request_hash in "aaba"]

    assert [1, 2, 1, 3] == attempts


def test_flight_is_watched(bill):
    """The calls under way are known, and the most there ever were."""
    bill.enter("a")
    bill.enter("b")
    bill.leave()

    assert (1, 2) == (bill.in_flight, bill.most_in_flight)


def test_reset_forgets(bill):
    """After a reset nothing was ever asked."""
    bill.enter("a")
    bill.charge(PAID)
    bill.leave()
    bill.save()

    bill.reset()

    assert {} == bill.entries()
    assert 1 == bill.enter("a")


def test_next_bill_goes_on(tmp_path):
    """A bill with the same path adds to what is there, and counts attempts on."""
    first = Bill(tmp_path / "bill")
    first.enter("a")
    first.charge(PAID)
    first.close()

    second = Bill(tmp_path / "bill")
    attempt = second.enter("a")
    second.charge(PAID)

    assert (2, 2) == (attempt, second.requests)


def test_other_processes_are_seen(tmp_path):
    """What another bill has saved meanwhile is part of the sum."""
    bill = Bill(tmp_path / "bill")
    bill.charge(PAID)

    Ledger(tmp_path / "bill").add([PAID])

    assert 2 == bill.billed


def test_saving_goes_on_by_itself(tmp_path, until):
    """An open bill is on disk soon after, without being asked."""
    bill = Bill(tmp_path / "bill")
    bill.open()

    bill.charge(PAID)

    assert until(lambda: [PAID] == Ledger(tmp_path / "bill").lines(), seconds=5)
    bill.close()


def test_failed_saves_lose_nothing(tmp_path):
    """What could not be written stays on the bill, and is written once it can be."""
    bill = Bill(tmp_path / "bill")
    bill.charge(PAID)
    (tmp_path / "bill").rename(tmp_path / "away")
    (tmp_path / "bill").mkdir()

    with pytest.raises(OSError, match="cannot be read or written"):
        bill.save()
    (tmp_path / "bill").rmdir()
    (tmp_path / "away").rename(tmp_path / "bill")
    bill.save()

    assert [PAID] == Ledger(tmp_path / "bill").lines()
