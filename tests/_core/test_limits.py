"""Limits: what a rendering may cost is counted, whatever the machine; the clock only backs it up."""

from __future__ import annotations

import itertools

import pytest
from jinja2 import StrictUndefined, Undefined
from jinja2.exceptions import UndefinedError

from dfllm._core.cells import BlankCell, MissingCell, Skip
from dfllm._core.limits import CHARACTERS, ITEMS, SECONDS, STEPS, WORK, Meter, TooMuch, few, fits, weigh


def stopped():
    """Return a clock that must not be read."""
    raise AssertionError


def test_short_rows_never_read_the_clock():
    """A million units of work pass before anyone looks."""
    meter = Meter(stopped)

    meter.spend(2**20)

    assert meter.work == WORK - 2**20


def test_clock_ends_a_rendering():
    """Where the count of work was too low, the time decides."""
    times = iter([0.0, SECONDS / 2, SECONDS])
    meter = Meter(lambda: next(times))
    meter.spend(2**20 + 1)
    meter.spend(2**20 + 1)

    with pytest.raises(TooMuch, match=r"^over 1 s$"):
        meter.spend(2**20 + 1)


def test_work_ends_a_rendering_whatever_the_clock_says():
    """On the fastest machine too, a row ends where it ends elsewhere."""
    meter = Meter(lambda: 0.0)
    meter.spend(WORK)

    with pytest.raises(TooMuch, match=r"^over 1 s$"):
        meter.spend(1)


def test_start_gives_everything_back():
    """A row pays nothing for the row before it."""
    ticks = itertools.count()
    meter = Meter(lambda: float(next(ticks)))
    for _ in range(3):
        meter.start()
        meter.spend(WORK // 2)
        meter.step(range(STEPS), 1)
        meter.count("a" * CHARACTERS)

    assert meter.steps == meter.room == 0


def test_steps_are_counted_in_advance():
    """A loop of the last step is fine, the next one is not begun."""
    meter = Meter()
    meter.step(range(STEPS), 1)

    with pytest.raises(TooMuch, match=r"^over 100,000 steps$"):
        meter.step("a", 1)


def test_output_is_counted():
    """Long pieces are counted as they come."""
    meter = Meter()
    meter.count("a" * CHARACTERS)

    with pytest.raises(TooMuch, match=r"^over 8 MiB$"):
        meter.count("a")


@pytest.mark.parametrize(
    ("check", "most", "reason"), [(fits, CHARACTERS, "over 8 MiB"), (few, ITEMS, "over 100,000 items")]
)
def test_sizes_are_inclusive(check, most, reason):
    """The limit itself is within the limit."""
    check(most)

    with pytest.raises(TooMuch, match=f"^{reason}$"):
        check(most + 1)


@pytest.mark.parametrize(
    "value",
    [
        "text",
        12345,
        -1.5,
        None,
        True,
        [1, "a", [2.5]],
        (1,),
        {"a": {"b": [None]}},
        {"a": 1}.keys(),
        {"a": 1}.values(),
        {"a": 1}.items(),
        range(5),
        [10**4000] * 3,
    ],
    ids=lambda value: type(value).__name__,
)
def test_weight_is_at_least_what_is_printed(value):
    """Nothing prints as more than it weighs."""
    assert weigh(value) >= len(str(value))


def test_shared_lists_weigh_each_time():
    """A list in a list counts as often as it stands there, though it is in memory once."""
    once = [0] * 100

    assert weigh([once] * 10) > 10 * (weigh(once) - 100)
    with pytest.raises(TooMuch, match=r"^over 8 MiB$"):
        weigh([[once] * 1000] * 1000)


def test_foreign_objects_are_no_values():
    """What slipped past `plain` still cannot be used."""
    with pytest.raises(TypeError, match="'Meter' object cannot be used as a value"):
        weigh([Meter()])
    with pytest.raises(TypeError, match="'object' object is not iterable"):
        Meter().items(object())
    with pytest.raises(TypeError, match="'object' object cannot be used as a value"):
        Meter().text(object())


def test_undefined_counts_when_printed_only():
    """A list may hold a missing cell, until it is printed."""
    cells = [MissingCell("a")]

    assert weigh(cells) > 0
    with pytest.raises(Skip):
        weigh(cells, printed=True)
    with pytest.raises(UndefinedError):
        weigh([StrictUndefined(name="x")], printed=True)


@pytest.mark.parametrize(
    ("value", "expected"), [("a", "a"), (1, "1"), ([1, "b"], "[1, 'b']"), (BlankCell(), ""), (Undefined(), "")]
)
def test_text_is_what_would_be_printed(value, expected):
    """Plain values print as Python prints them."""
    assert expected == Meter().text(value)
    assert expected == Meter().count(value)


def test_made_text_costs_its_memory():
    """A character beyond ASCII may take four bytes."""
    meter = Meter()
    meter.made("aaaa")
    meter.made("é")

    assert meter.work == WORK - 8


def test_items_are_few():
    """A long text is not taken to pieces."""
    with pytest.raises(TooMuch, match=r"^over 100,000 items$"):
        Meter().items("a" * (ITEMS + 1))
