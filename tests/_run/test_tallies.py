"""Tallies of several runs: sums of everything that has one."""

from collections import Counter
from dataclasses import fields

from dfllm._core.types import Failure, Response
from dfllm._run.desk import Settled
from dfllm._run.tallies import PlacesTally, add_up
from dfllm._run.tally import Tally

NOT_SUMMED = {"rows", "waiting", "waiting_until", "limits"}


def test_every_count_is_summed():
    """A new field fails here until it has a sum, or a reason to have none."""
    parts = [Tally(3), Tally(4)]
    for number, part in enumerate(parts, 1):
        for field in fields(Tally):
            value = getattr(part, field.name)
            if isinstance(value, int):
                setattr(part, field.name, number)
            elif isinstance(value, Counter):
                value["x", None if field.name == "causes" else "y"] = number
        part.examples["x", None] = str(number)
        part.latencies.add(float(number))
    total = Tally(7)

    for _ in range(2):
        add_up(total, parts, late=True)

    unsummed = set()
    for field in fields(Tally):
        value = getattr(total, field.name)
        if not (value == 3 or (isinstance(value, Counter) and 3 == value.total())):
            unsummed.add(field.name)
    assert NOT_SUMMED | {"examples", "latencies"} == unsummed
    assert (7, "1", 2, 2.0) == (
        total.rows, total.examples["x", None], total.latencies.counts.total(), total.latencies.longest
    )  # fmt: skip


def test_a_call_waits_while_a_part_does():
    """What the first of them waits for is shown, until it goes on."""
    parts, total = [Tally(1), Tally(1)], Tally(2)
    parts[1].waiting, parts[1].waiting_until = "rate limit: waiting 5 s", 7.0

    add_up(total, parts)
    waiting = total.waiting, total.waiting_until
    parts[1].waiting = None
    add_up(total, parts)

    assert ("rate limit: waiting 5 s", 7.0) == waiting
    assert (None, None) == (total.waiting, total.waiting_until)


def test_places_are_not_counted_as_rows():
    """Rows are, where they come together."""
    tally = PlacesTally(2)
    settled = [Settled(b"a", Response("yes"), ("yes",), "live"), Settled(b"b", Failure("Refused", "no"), None, "live")]

    assert (0, 1) == (tally.count(settled), tally.count_rows(settled))
    assert (1, 1) == (tally.ok, tally.failed)
