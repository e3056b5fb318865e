"""Answers as Parquet: byte for byte there and back, and nothing in a file is believed before its checksum holds."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.errors import StoreError
from dfllm._run.store_parquet import Exported, read, write
from dfllm._run.store_rows import Entry, row_of
from dfllm._run.store_stats import Found

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.floats(0, 4e9)


def found(*rows):
    """Return rows as the store finds them."""
    return [Found((row[0], row[1].encode(), row[2].encode(), *row[3:]), is_whole=True) for row in rows]


def row(number, body=b"{}"):
    """Return a row by its number."""
    return row_of(Entry(number.to_bytes(20, "big"), body, "openai", "gpt-mini", float(number), 0.5, number))


def written(path, *windows):
    """Write an export and return what it came to."""
    with path.open("wb") as stream:
        return write(stream, windows)


@given(
    entries=st.lists(
        st.builds(
            Entry,
            st.binary(min_size=20, max_size=20),
            st.binary(max_size=300),
            TEXT,
            TEXT,
            TIMES,
            TIMES,
            st.none() | st.integers(0, 2**63 - 1),
        ),
        max_size=5,
    )
)
def test_what_goes_in_comes_out(tmp_path_factory, entries):
    """Every field of every answer is read back as it was, whatever bytes and letters it has."""
    path = tmp_path_factory.mktemp("export") / "answers.parquet"
    rows = [row_of(entry) for entry in entries]

    made = written(path, found(*rows))

    assert Exported(len(rows), 0) == made
    assert rows == [one for window in read(path) for one in window]


def test_windows_are_written_as_they_come(tmp_path):
    """Each window is a row group of its own, so no more than one is in memory."""
    path = tmp_path / "answers.parquet"
    windows = [found(*(row(number) for number in range(start, start + 3))) for start in (0, 3, 6)]

    written(path, *windows)

    assert [3, 3, 3] == [pq.ParquetFile(path).metadata.row_group(group).num_rows for group in range(3)]
    assert 9 == sum(len(window) for window in read(path))


def test_a_damaged_answer_is_left_out(tmp_path):
    """What the store knows to be damaged does not travel."""
    good, bad = found(row(1), row(2))

    made = written(tmp_path / "answers.parquet", [good, bad._replace(is_whole=False)])

    assert Exported(1, 1) == made


def test_an_empty_store_has_an_export(tmp_path):
    """It has columns and no rows."""
    made = written(tmp_path / "answers.parquet")

    assert (Exported(0, 0), []) == (made, list(read(tmp_path / "answers.parquet")))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("key", "k1" + "f" * 40),
        ("key", "no key"),
        ("key", None),
        ("body", b"[]"),
        ("body", None),
        ("created", 9.0),
        ("created", float("nan")),
        ("created", None),
        ("cost", 7),
        ("cost", -1),
        ("checksum", 1),
        ("checksum", None),
    ],
)
def test_a_changed_cell_is_noticed(tmp_path, column, value):
    """An answer whose checksum does not hold is none; its neighbour is."""
    path = tmp_path / "answers.parquet"
    written(path, found(row(1), row(2)))
    table = pq.read_table(path)
    place = table.schema.names.index(column)
    cells = pa.array([value, table[column][1].as_py()], table.schema.field(column).type)
    pq.write_table(table.set_column(place, table.schema.field(column), cells), path)

    assert [[None, row(2)]] == list(read(path))


@pytest.mark.parametrize("fate", ["another table", "newer", "a column less", "no parquet", "none", "a folder"])
def test_what_is_no_export_is_refused(tmp_path, fate):
    """What was found is said, and nothing is given."""
    path = tmp_path / "answers.parquet"
    written(path, found(row(1)))
    table = pq.read_table(path)
    if fate == "another table":
        pq.write_table(pa.table({"a": [1]}), path)
    elif fate == "newer":
        pq.write_table(table.replace_schema_metadata({"dfllm": "answers 2"}), path)
    elif fate == "a column less":
        pq.write_table(table.drop_columns(["checksum"]), path)
    elif fate == "no parquet":
        path.write_bytes(b"a diary" * 100)
    else:
        path.unlink()
        if fate == "a folder":
            path.mkdir()

    with pytest.raises(StoreError, match=r"answers\.parquet (is no export|cannot be loaded)") as caught:
        list(read(path))

    assert "before that" not in str(caught.value)


def test_a_file_that_is_damaged_in_its_middle_gives_what_is_before_that(tmp_path):
    """Bytes that cannot be unpacked end the reading with a message that says so."""
    path = tmp_path / "answers.parquet"
    written(
        path, found(*(row(number, b"%d" % number * 500) for number in range(1_000))), found(row(5_000, b"x" * 5_000))
    )
    place = pq.ParquetFile(path).metadata.row_group(1).column(7).data_page_offset
    damaged = bytearray(path.read_bytes())
    damaged[place : place + 40] = b"\xff" * 40
    path.write_bytes(damaged)

    windows = read(path)
    first = next(windows)
    with pytest.raises(StoreError, match=r"cannot be loaded.*What was read before that is in the store"):
        list(windows)

    assert 1_000 == len(first)


def test_an_export_goes_to_any_stream():
    """The writer needs no file."""
    stream = io.BytesIO()

    write(stream, [found(row(1))])

    assert b"PAR1" == stream.getvalue()[:4]
