"""Rows: what is written can be read back, and the checksum hears all that an answer is."""

from dataclasses import dataclass
from http import HTTPStatus

import pytest

from dfllm._run.store_rows import Attempt, Entry, checksum, note_of, row_of

ENTRY = Entry(b"k" * 20, b"body", "openai", "gpt-mini", 1.5, 0.25, 1234)
OTHER = Entry(b"l" * 20, b"bodx", "openaj", "gpt-maxi", 1.25, 0.5, None)


def total_of(entry):
    """Return an entry's checksum."""
    return row_of(entry)[6]


@pytest.mark.parametrize("field", Entry._fields)
def test_checksum_hears_what_an_answer_is(field):
    """Changing any field changes the checksum, save the two that only say where the answer came from."""
    changed = ENTRY._replace(**{field: getattr(OTHER, field)})

    assert (field in ("provider", "model")) == (total_of(ENTRY) == total_of(changed))


def test_row_is_what_the_checksum_is_of():
    """The checksum in a row is that of the row as SQLite gives it back, texts as bytes."""
    key, _provider, _model, created, seconds, cost, total, body = row_of(ENTRY)

    assert total == checksum(key, created, seconds, cost, body)


def test_zero_loses_its_sign_before_sqlite_takes_it():
    """SQLite stores -0.0 as 0, which is another pattern of bits."""
    row = row_of(ENTRY._replace(created=-0.0, seconds=-0.0))

    assert ["0.0", "0.0"] == [str(row[3]), str(row[4])]


def test_numbers_of_other_kinds_become_plain_ones():
    """Integers that are no int, as numpy's, are stored as the int they mean."""

    @dataclass
    class Seven:
        def __index__(self):
            return 7

    row = row_of(ENTRY._replace(created=3, cost=Seven()))

    assert (3.0, 7) == (row[3], row[5])
    assert [float, int] == [type(row[3]), type(row[5])]


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": b"short"},
        {"created": float("nan")},
        {"seconds": float("inf")},
        {"cost": -1},
        {"cost": 1 << 63},
        {"model": "\ud800"},
        {"body": "text"},
        {"cost": 1.5},
    ],
    ids=str,
)
def test_what_could_not_be_read_back_is_refused(wrong):
    """An entry that SQLite would change or refuse never reaches the writer."""
    with pytest.raises((ValueError, TypeError)):
        row_of(ENTRY._replace(**wrong))


def test_a_status_becomes_a_plain_number():
    """A status of another kind of integer, as http's, is stored as the int it means."""
    note = note_of(Attempt(b"k" * 20, "run", 1, "maybe", "text", HTTPStatus.OK, None))

    assert (200, int) == (note[5], type(note[5]))


def test_attempts_may_hold_any_text():
    """A provider's message may hold half a character; the note has it escaped."""
    attempt = Attempt(b"k" * 20, "run", 1, "maybe", "bad \ud800 text", None, None)

    assert (b"k" * 20, "run", 1.0, "maybe", "bad \\ud800 text", None, None) == note_of(attempt)
