"""Rows out of a frame and columns into it: each answer in its own row, whatever the frame, and the frame untouched."""

import copy
import datetime as dt
import decimal
import enum
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfllm._core.errors import OptionError
from dfllm._core.schema import schema_of
from dfllm._core.types import Failure, Response
from dfllm._frame import Columns, cells_of, check_names, names_of, scrubbed
from dfllm._run import desk
from dfllm._run.desk import Settled
from dfllm.simulator import Faults, Simulator

ECHO = "simulator/echo"
SMALL = "simulator/small"
#: What each pandas calls text: a dtype of its own from version 3 on, objects before.
TEXT = pd.Series([], dtype="str").dtype
PLAIN = names_of("completion", None, details=False)
DAY = dt.date(2024, 2, 29)
NOON = dt.datetime(2024, 2, 29, 12, 30)  # noqa: DTZ001  # frames hold times without a zone, too
DETAILS = ["key", "model", "source", "tokens_in", "tokens_out", "cost", "seconds", "finish"]


class Odd:
    """Something no prompt could show."""

    def __str__(self) -> str:
        raise RuntimeError("a secret")


class OddDict(dict):
    """A dict that does not let itself be read."""

    def items(self) -> Any:
        raise RuntimeError("a secret")


class Mood(enum.Enum):
    """A member of it stands in a cell."""

    GOOD = "good"


class Survey(pd.DataFrame):
    """A frame of somebody's own kind."""

    @property
    def _constructor(self) -> type["Survey"]:
        return Survey


@pytest.fixture
def bill(simulator: Callable[..., Simulator]) -> Any:
    """Start a simulator and return its bill."""
    return simulator().bill


def values(column: Any) -> list[Any]:
    """Return a column's values, None where one is missing."""
    return [None if value is pd.NA or value is None or value != value else value for value in column.tolist()]


def cells(column: pd.Series) -> tuple[list[Any], dict[int, str]]:
    """Return what a template sees of a column, and what is said of cells that cannot be sent."""
    block = cells_of(pd.DataFrame({"c": column}), ["c"])(0, len(column))
    return block.columns[0], {place: str(failure) for place, failure in block.unfit.items()}


def objects(*cells: Any) -> pd.Series:
    """Return a column of these very objects."""
    column = np.empty(len(cells), dtype=object)
    column[:] = [None] * len(cells)
    for place, cell in enumerate(cells):
        column[place] = cell
    return pd.Series(column, dtype=object)


def arrow(values: list[Any], kind: pa.DataType) -> pd.Series:
    """Return a column in Arrow's own type."""
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([pa.array(values, kind)])))


COLUMNS = {
    "int8": (pd.Series([1, -1], dtype="int8"), [1, -1]),
    "uint64": (pd.Series([2**64 - 1, 0], dtype="uint64"), [2**64 - 1, 0]),
    "int with a null": (pd.Series([1, None]), [1.0, None]),
    "float64": (pd.Series([0.1, np.nan]), [0.1, None]),
    "float16": (pd.Series([0.5, np.nan], dtype="float16"), [0.5, None]),
    "longdouble": (pd.Series(np.array([0.5, np.nan], dtype=np.longdouble)), [0.5, None]),
    "infinite": (pd.Series([float("inf"), -float("inf")]), [float("inf"), -float("inf")]),
    "bool": (pd.Series([True, False]), [True, False]),
    "Int64": (pd.Series([2**60 + 1, None], dtype="Int64"), [2**60 + 1, None]),
    "Int64 without a null": (pd.Series([2**60 + 1, 2], dtype="Int64"), [2**60 + 1, 2]),
    "Float64": (pd.Series([1.5, None], dtype="Float64"), [1.5, None]),
    "boolean": (pd.Series([True, None], dtype="boolean"), [True, None]),
    "boolean without a null": (pd.Series([True, False], dtype="boolean"), [True, False]),
    "str": (pd.Series(["a", None], dtype="str"), ["a", None]),
    "string": (pd.Series(["a", None], dtype="string"), ["a", None]),
    "string[pyarrow]": (pd.Series(["a", None], dtype="string[pyarrow]"), ["a", None]),
    "object": (pd.Series(["a", None, np.nan, pd.NA, pd.NaT, 1], dtype=object), ["a", None, None, None, None, 1]),
    "all null": (pd.Series([None, None], dtype=object), [None, None]),
    "datetime": (pd.Series(pd.to_datetime(["2024-02-29 12:30", None])), ["2024-02-29T12:30:00", None]),
    "datetime with a zone": (
        pd.Series(pd.to_datetime(["2024-02-29", None], utc=True)),
        ["2024-02-29T00:00:00+00:00", None],
    ),
    "timedelta": (pd.Series(pd.to_timedelta([1, None], unit="D")), ["1 days 00:00:00", None]),
    "period": (pd.Series(pd.PeriodIndex(["2024", None], freq="Y")), ["2024", None]),
    "interval": (pd.Series(pd.arrays.IntervalArray.from_tuples([(0, 1), None])), ["(0.0, 1.0]", None]),
    "categorical": (pd.Series(["b", None, "a", "b"], dtype="category"), ["b", None, "a", "b"]),
    "categorical numbers": (pd.Series([2, 1, 2], dtype="category"), [2, 1, 2]),
    "categorical dates": (pd.Series(pd.to_datetime(["2024-02-29"])).astype("category"), ["2024-02-29T00:00:00"]),
    "unused categories": (pd.Series(pd.Categorical(["b"], list("abcdef"))), ["b"]),
    "sparse int": (pd.Series(pd.arrays.SparseArray([0, 1, 0])), [0, 1, 0]),
    "sparse float": (pd.Series(pd.arrays.SparseArray([np.nan, 1.5])), [None, 1.5]),
    "arrow int": (arrow([1, None], pa.int64()), [1, None]),
    "arrow int without a null": (arrow([1, 2], pa.int64()), [1, 2]),
    "arrow float": (arrow([1.5, None, float("nan")], pa.float64()), [1.5, None, None]),
    "arrow text": (arrow(["a", None], pa.string()), ["a", None]),
    "arrow bool": (arrow([True, None], pa.bool_()), [True, None]),
    "arrow date": (arrow([DAY, None], pa.date32()), ["2024-02-29", None]),
    "arrow time": (arrow([NOON.time(), None], pa.time64("us")), ["12:30:00", None]),
    "arrow timestamp": (arrow([NOON, None], pa.timestamp("us")), ["2024-02-29T12:30:00", None]),
    "arrow decimal": (arrow([decimal.Decimal("1.50"), None], pa.decimal128(10, 2)), ["1.50", None]),
    "arrow list": (arrow([[1, None], None], pa.list_(pa.int64())), [[1, None], None]),
    "arrow struct": (arrow([{"a": 1}, None], pa.struct([("a", pa.int64())])), [{"a": 1}, None]),
    "arrow dictionary": (arrow(["a", None, "a"], pa.dictionary(pa.int32(), pa.string())), ["a", None, "a"]),
    "arrow null": (arrow([None, None], pa.null()), [None, None]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_column_of_any_kind_becomes_plain_values(name):
    """A template sees text, numbers, booleans, lists and dicts, and None where one is missing."""
    column, expected = COLUMNS[name]

    found, unfit = cells(column)

    assert repr(expected) == repr(found)  # 1 is not 1.0 in a prompt
    assert {} == unfit


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (decimal.Decimal("1.50"), "1.50"),
        (decimal.Decimal("NaN"), None),
        (DAY, "2024-02-29"),
        (NOON, "2024-02-29T12:30:00"),
        (pd.Timestamp(NOON), "2024-02-29T12:30:00"),
        (np.datetime64("NaT"), None),
        (np.float64(0.5), 0.5),
        (np.int64(5), 5),
        (np.str_("s"), "s"),
        (np.array([1, 2]), [1, 2]),
        ((1, "a"), [1, "a"]),
        ({2, 1}, [1, 2]),
        ({"a": [1, None]}, {"a": [1, None]}),
        (Mood.GOOD, "good"),
        (10**4000, 10**4000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_object_cell_becomes_a_plain_value(cell, expected):
    """What an object column holds is made plain, cell by cell."""
    assert repr(([expected], {})) == repr(cells(objects(cell)))


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (b"x", "bytes cannot be sent"),
        (["a\ud800"], "lone surrogate"),
        ({"a\x00": 1}, "NUL"),
        (10**4301, "integer of over 4300 digits"),
        (["a", b"x"], "bytes cannot be sent"),
        (1 + 2j, "complex cannot be sent: neither text, number, list nor dict"),
        (Odd(), "Odd cannot be sent: neither text, number, list nor dict"),
        (OddDict(a=1), "OddDict cannot be read"),
    ],
    ids=["bytes", "surrogate", "nul", "huge", "nested", "complex", "odd", "odd dict"],
)
def test_cell_that_cannot_be_sent_is_its_rows_failure(cell, reason):
    """One bad cell costs its row and no other; what is said names the column and shows nothing of the cell."""
    found, unfit = cells(objects("fine", cell, "fine"))

    assert ["fine", None, "fine"] == found
    assert {1: f"BadInput: {reason} in column 'c'"} == unfit


def test_category_that_cannot_be_sent_is_its_rows_failure():
    """Rows of an unfit category say so; they are not taken for missing ones."""
    column = pd.Series(pd.Categorical(["a", b"x", None, b"x"], ["a", b"x", "unused"]))

    found, unfit = cells(column)

    assert ["a", None, None, None] == found
    assert dict.fromkeys((1, 3), "BadInput: bytes cannot be sent in column 'c'") == unfit


def test_only_the_columns_asked_for_are_read():
    """A window holds these columns and rows, in this order."""
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"], "c": [Odd()] * 3})

    block = cells_of(frame, ["b", "a"])(1, 3)

    assert ([["y", "z"], [2, 3]], {}) == (block.columns, block.unfit)


def test_many_kinds_of_columns_in_one_prompt(bill):
    """From a frame of every dtype to the provider and back, each row has its own values."""
    frame = pd.DataFrame(
        {
            "number": pd.Series([1, 2], dtype="Int64"),
            "part": pd.Series([0.5, 1.5]),
            "label": pd.Series(["x", "y"], dtype="category"),
            "day": pd.to_datetime(["2024-02-29", "2024-03-01"]),
            "items": [["a", 1], {"k": "v"}],
            "text": arrow(["é", "日本"], pa.string()),
        }
    )

    made = frame.llm.complete(
        "{{ number }} {{ part }} {{ label }} {{ day }} {{ items | tojson }} {{ text }}", model=ECHO
    )

    assert [
        '1 0.5 x 2024-02-29T00:00:00 ["a", 1] é',
        '2 1.5 y 2024-03-01T00:00:00 {"k": "v"} 日本',
    ] == values(made["completion"])


INDEXES = {
    "range": pd.RangeIndex(10, 18, 2),
    "duplicate": pd.Index([7, 7, 7, 7]),
    "unsorted": pd.Index([3, 1, 4, 0]),
    "text": pd.Index(list("dacb"), name="id"),
    "multi": pd.MultiIndex.from_tuples([("b", 1), ("a", 2), ("b", 1), ("a", 1)], names=["one", "two"]),
    "categorical": pd.CategoricalIndex(list("abab")),
    "datetime": pd.DatetimeIndex(["2024-03-01", "2024-02-29", "2024-03-01", "NaT"], tz="UTC"),
    "interval": pd.IntervalIndex.from_breaks([0, 1, 2, 3, 4]),
    "float with NaN": pd.Index([1.5, np.nan, np.nan, 0.5]),
    "mixed": pd.Index(["a", 1, None, ("t",)], dtype=object),
}


@pytest.mark.parametrize("name", INDEXES)
def test_answers_land_in_their_own_rows_under_any_index(bill, name):
    """Rows are told apart by where they stand, never by their label."""
    frame = pd.DataFrame({"text": ["d", "a", None, "b"]}, index=INDEXES[name])

    made = frame.llm.complete("<{{ text }}>", model=ECHO)

    assert ["<d>", "<a>", None, "<b>"] == values(made["completion"])
    assert [None, None, "Skipped: column 'text' is missing", None] == values(made["completion_error"])
    pd.testing.assert_index_equal(INDEXES[name], made.index, exact=True)


LABELS = {
    "range": pd.RangeIndex(2),
    "text with a name": pd.Index(["a", "b"], name="columns"),
    "categorical": pd.CategoricalIndex(["a", "b"]),
    "datetime": pd.DatetimeIndex(["2024-02-29", "2024-03-01"]),
    "interval": pd.IntervalIndex.from_breaks([0, 1, 2]),
    "bool": pd.Index([True, False]),
    "objects": pd.Index([None, ("a", "b")], dtype=object, tupleize_cols=False),
}


@pytest.mark.parametrize("name", LABELS)
def test_columns_are_added_to_labels_of_any_kind(bill, name):
    """New columns stand last, the old ones and the name of the columns' index stay."""
    frame = pd.DataFrame([[1, 2]])
    frame.columns = LABELS[name]

    made = frame.llm.complete("hello", model=ECHO)

    assert [*LABELS[name], "completion", "completion_error"] == list(made.columns)
    assert LABELS[name].name == made.columns.name
    assert ["hello"] == values(made["completion"])


def test_labels_that_are_no_names_are_read_by_row(bill):
    """`row["..."]` and `row[...]` reach labels with spaces, numbers and keywords."""
    frame = pd.DataFrame([["x", "y", "z"]], columns=["a b", 0, "for"])

    made = frame.llm.complete('{{ row["a b"] }} {{ row[0] }} {{ row["for"] }}', model=ECHO)

    assert ["x y z"] == values(made["completion"])


def test_duplicate_labels_stand_unless_the_template_reads_them(bill):
    """Two columns of one name are no matter to a prompt that reads neither."""
    frame = pd.DataFrame([[1, 2, "x"]], columns=["twice", "twice", "once"])

    made = frame.llm.complete("{{ once }}", model=ECHO)

    assert ["twice", "twice", "once", "completion", "completion_error"] == list(made.columns)
    assert [1, 2, "x", "x"] == made.iloc[0, :4].tolist()


def test_the_users_frame_is_not_changed(bill):
    """Neither its values nor what is nested in them, neither its attrs nor its flags."""
    frame = pd.DataFrame(
        {"text": ["a", None], "nested": [[1, {"k": [2]}], {"x": 1}], "label": pd.Categorical(["u", "v"])},
        index=[5, 5],
    )
    frame.attrs = {"source": {"file": "reviews.csv"}}
    before, attrs = copy.deepcopy(frame), copy.deepcopy(frame.attrs)

    made = frame.llm.complete("{{ text }} {{ nested }} {{ label }}", model=ECHO)
    made.loc[:, "text"] = "changed"

    pd.testing.assert_frame_equal(before, frame, check_flags=True)
    assert attrs == frame.attrs
    assert attrs == made.attrs


def test_the_frames_kind_is_kept(bill):
    """A subclass of DataFrame stays one, with its attrs."""
    frame = Survey({"text": ["a"]})
    frame.attrs["wave"] = 3

    made = frame.llm.complete("{{ text }}", model=ECHO)

    assert (Survey, {"wave": 3}) == (type(made), made.attrs)


def test_old_columns_come_back_as_they_were(bill):
    """Every other column keeps its values, dtype and place."""
    frame = pd.DataFrame({name: column.iloc[:1] for name, (column, _) in COLUMNS.items()})

    made = frame.llm.complete("hello", model=ECHO)

    pd.testing.assert_frame_equal(frame, made[frame.columns])
    assert ["completion", "completion_error"] == list(made.columns[len(frame.columns) :])


def test_wide_frame_makes_no_warning(bill):
    """A frame of more columns than pandas likes is taken as it is; warnings are errors here."""
    frame = pd.DataFrame({f"c{number}": pd.Series(["a"], dtype="string") for number in range(150)})

    made = frame.llm.complete("{{ c149 }}", model=SMALL, schema={f"f{number}": str for number in range(120)})

    assert (1, 150 + 120 + 1) == made.shape


@pytest.mark.parametrize("rows", [0, 1])
def test_frame_without_columns(bill, rows):
    """It may have rows, and a prompt that reads none of what it has not."""
    made = pd.DataFrame(index=range(rows)).llm.complete("hello", model=ECHO)

    assert (["hello"] * rows, [None] * rows) == (values(made["completion"]), values(made["completion_error"]))


def test_frame_without_rows(bill):
    """Nothing is sent, and every column is there in its dtype, so that an empty part of a pipeline fits the others."""
    frame = pd.DataFrame({"text": pd.Series([], dtype="str")})

    made = frame.llm.complete("{{ text }}", model=SMALL, schema={"n": int, "x": float, "t": bool}, details=True)

    assert (0, 0) == (len(made), bill.requests)
    assert ["Int64", "Float64", "boolean", TEXT] == made.dtypes.iloc[1:5].tolist()


def test_column_of_nulls_sends_nothing(bill):
    """All rows are skipped, which is no failure and gives no warning."""
    frame = pd.DataFrame({"text": [None, None]})

    made = frame.llm.complete("{{ text }}", model=ECHO)

    assert 0 == bill.requests
    assert [None, None] == values(made["completion"])
    assert ["Skipped: column 'text' is missing"] * 2 == values(made["completion_error"])
    assert [TEXT, TEXT] == made.dtypes.iloc[1:].tolist()


def test_cells_of_a_megabyte_go_there_and_back(bill):
    """Length is no reason to cut."""
    frame = pd.DataFrame({"text": ["a" * 2**20, "é" * 2**19]})

    made = frame.llm.complete("{{ text }}.", model=ECHO)

    assert [f"{text}." for text in frame["text"]] == values(made["completion"])


def test_rows_of_many_windows_find_their_answers(bill, monkeypatch):
    """Equal rows of different windows share one call, and every row has its own answer."""
    monkeypatch.setattr(desk, "WINDOW", 50)
    frame = pd.DataFrame({"n": [None if row % 7 == 0 else row % 30 for row in range(333)]}, dtype="Int64")

    made = frame.llm.complete("number {{ n }}", model=ECHO, details=True)

    assert [None if row % 7 == 0 else f"number {row % 30}" for row in range(333)] == values(made["completion"])
    assert 30 == bill.requests


def test_lone_surrogates_in_answers_become_replacement_characters(simulator):
    """They are legal in JSON, but in no text that pandas or a file could hold."""
    simulator(faults=Faults(by_text={"odd": "surrogate"}))

    made = pd.DataFrame({"text": ["odd", "even"]}).llm.complete("{{ text }}", model=ECHO)

    assert ["odd \ufffd", "even"] == values(made["completion"])


class Person(pydantic.BaseModel):
    """What is asked for, and how each field is held."""

    name: str
    age: int
    height: float | None
    adult: bool
    tags: list[str]
    address: dict[str, str]
    born: dt.date


def test_fields_of_a_model_become_columns(bill):
    """One column a field, in the model's order, each in the dtype that holds its kind and its nulls."""
    made = pd.DataFrame({"text": ["a", None]}).llm.complete("{{ text }}", model=SMALL, schema=Person)

    assert {
        "completion_name": TEXT,
        "completion_age": pd.Int64Dtype(),
        "completion_height": pd.Float64Dtype(),
        "completion_adult": pd.BooleanDtype(),
        "completion_tags": TEXT,
        "completion_address": TEXT,
        "completion_born": TEXT,
        "completion_error": TEXT,
    } == made.dtypes.iloc[1:].to_dict()
    assert made.iloc[1, 1:-1].isna().all()
    assert '["' == made["completion_tags"][0][:2]


@pytest.mark.parametrize(
    ("schema", "columns"),
    [
        (["good", "bad"], {"completion": TEXT}),
        ([1, 2, 3], {"completion": pd.Int64Dtype()}),
        (Mood, {"completion": TEXT}),
        ({"n": int, "x": float}, {"completion_n": pd.Int64Dtype(), "completion_x": pd.Float64Dtype()}),
        ({"mood": ["good", "bad"]}, {"completion_mood": TEXT}),
        ({"maybe": int | None}, {"completion_maybe": pd.Int64Dtype()}),
        ({"json": str, "copy": int, "_id": int}, None),
        ({"type": "integer"}, {"completion": pd.Int64Dtype()}),
        ({"type": "array", "items": {"type": "string"}}, {"completion": TEXT}),
        (
            {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]},
            {"completion_a": pd.BooleanDtype()},
        ),
    ],
    ids=["labels", "ints", "enum", "mapping", "nested labels", "nullable", "odd names", "type", "array", "object"],
)
def test_schema_of_every_form_becomes_columns(bill, schema, columns):
    """Labels and single values go into `into` itself, fields into columns of their own."""
    made = pd.DataFrame({"text": ["a"]}).llm.complete("{{ text }}", model=SMALL, schema=schema)

    found = {str(name): dtype for name, dtype in made.dtypes.iloc[1:-1].items()}
    assert (columns or {"completion_json": TEXT, "completion_copy": "Int64", "completion__id": "Int64"}) == found
    assert "completion_error" == made.columns[-1]
    assert made.iloc[0, 1:-1].notna().all() or "maybe" in schema
    assert made["completion_error"].isna().all()


def test_labels_are_one_of_those_asked_for(bill):
    """The result column holds labels, nothing else."""
    frame = pd.DataFrame({"text": [f"review {number}" for number in range(20)]})

    made = frame.llm.complete("{{ text }}", model=SMALL, schema=["good", "bad"])

    assert {"good", "bad"} >= set(made["completion"])
    assert made["completion_error"].isna().all()


def test_integers_beyond_2_to_the_53_stay_exact(simulator):
    """No column of integers goes through floats, though other rows of it have none."""
    simulator()
    frame = pd.DataFrame({"text": [f'{{"answer": {2**60 + 1}}}', '{"answer": 9e99}', None]})

    with pytest.warns(match="1 of 3"):
        made = frame.llm.complete("{{ text }}", model=ECHO, schema={"type": "integer"})

    assert [2**60 + 1, None, None] == values(made["completion"])


def test_details_stand_behind_the_error(bill):
    """Eight columns more; a row that was not sent has none of it, a shared answer has all of it twice."""
    frame = pd.DataFrame({"text": ["a", None, "a"]})

    made = frame.llm.complete("{{ text }}", model=ECHO, into="x", details=True)

    names = [f"x_{what}" for what in DETAILS]
    assert ["text", "x", "x_error", *names] == list(made.columns)
    assert [TEXT, TEXT, TEXT, "Int64", "Int64", "Float64", "Float64", TEXT] == made[names].dtypes.tolist()
    assert made[names].iloc[1].isna().all()
    assert ["echo", "live", "stop"] == made.loc[0, ["x_model", "x_source", "x_finish"]].tolist()
    assert made.loc[0, "x_key"].startswith("k1")
    assert (42, 1) == (len(made.loc[0, "x_key"]), bill.requests)
    pd.testing.assert_series_equal(made.loc[0, names], made.loc[2, names], check_names=False)
    assert (bill.prompt_tokens, bill.completion_tokens) == (made.loc[0, "x_tokens_in"], made.loc[0, "x_tokens_out"])


def test_details_of_a_known_row_say_so(bill):
    """What was paid in an earlier run is told again, with the store as its source."""
    frame = pd.DataFrame({"text": ["a"]})
    first = frame.llm.complete("{{ text }}", model=ECHO, details=True)

    second = frame.llm.complete("{{ text }}", model=ECHO, details=True)

    assert ["live", "store"] == [first.loc[0, "completion_source"], second.loc[0, "completion_source"]]
    same = [name for name in first.columns if name != "completion_source"]
    pd.testing.assert_frame_equal(first[same], second[same])


def test_cut_answer_keeps_its_text_beside_the_error(simulator):
    """The one case where a row has both."""
    simulator()

    with pytest.warns(match="Truncated 1"):
        made = pd.DataFrame({"text": ["a" * 40]}).llm.complete("{{ text }}", model=ECHO, max_tokens=2)

    assert ["a" * 8] == values(made["completion"])
    assert ["Truncated: 2 output tokens (paid)"] == values(made["completion_error"])


def test_a_column_may_be_called_anything(bill):
    """Names that mean something to pandas are names all the same."""
    made = pd.DataFrame({"text": ["a"]}).llm.complete("{{ text }}", model=ECHO, into="self")

    assert ["text", "self", "self_error"] == list(made.columns)


@pytest.mark.parametrize("into", ["", None, 5, ("a", "b"), "half \ud800"])
def test_into_must_be_a_name(into):
    """Anything else is refused before a row is looked at."""
    with pytest.raises(OptionError, match="into"):
        names_of(into, None, details=False)


@pytest.mark.parametrize(("field", "details"), [("error", False), ("error", True), ("key", True), ("cost", True)])
def test_field_must_not_have_the_name_of_another_new_column(field, details):
    """A field called like what is made anyway would hide it."""
    with pytest.raises(OptionError, match=f"'completion_{field}'"):
        names_of("completion", schema_of({field: str}), details=details)


def test_field_may_have_the_name_of_a_detail_nobody_asked_for():
    """Without details=True there is no `completion_key` to hide."""
    names = names_of("completion", schema_of({"key": str}), details=False)

    assert ["completion_key", "completion_error"] == names.all


@pytest.mark.parametrize(
    ("columns", "overwrite", "refused"),
    [
        (["a"], None, None),
        (["a"], False, None),
        (["completion"], None, "which no earlier run made"),
        (["completion_error"], None, "which no earlier run made"),
        (["completion", "completion_error"], None, None),
        (["completion"], True, None),
        (["completion"], False, "overwrite=False"),
        (["completion", "completion_error"], False, "overwrite=False"),
    ],
)
def test_columns_in_the_way_are_refused_unless_a_run_made_them(columns, overwrite, refused):
    """A pair of an earlier run is replaced, so that a cell can be run again; anything else needs a word of the user."""
    frame = pd.DataFrame(columns=columns)

    if refused is None:
        check_names(frame, PLAIN, read=[], overwrite=overwrite)
    else:
        with pytest.raises(OptionError, match=refused):
            check_names(frame, PLAIN, read=[], overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [None, True, False])
@pytest.mark.parametrize("read", ["completion", "completion_error"])
def test_what_the_template_reads_is_never_overwritten(read, overwrite):
    """Not even on demand: the next run would ask something else."""
    frame = pd.DataFrame(columns=["completion", "completion_error"])

    with pytest.raises(OptionError, match=f"The template reads '{read}'"):
        check_names(frame, PLAIN, read=[read], overwrite=overwrite)


def test_columns_of_several_levels_are_refused():
    """There is no one place for a new column in them."""
    frame = pd.DataFrame(columns=pd.MultiIndex.from_tuples([("a", "b")]))

    with pytest.raises(OptionError, match="MultiIndex"):
        check_names(frame, PLAIN, read=[], overwrite=None)


def test_rows_that_never_ended_say_so():
    """A run that broke off leaves no row without an answer or an error."""
    columns = Columns(PLAIN)
    columns.fill(0, [Settled(b"k", Response("a"), ("a",), "live"), None])

    made = columns.frame(pd.DataFrame(index=[3, 3, 3]))

    lost = "NotSent: the run ended before this row"
    assert ["a", None, None] == values(made["completion"])
    assert [None, lost, lost] == values(made["completion_error"])


def test_outcomes_that_come_late_find_their_windows():
    """A row is known by its place in the frame, whichever window it came from."""
    columns = Columns(PLAIN)
    columns.fill(0, [None, Settled(None, Failure("Skipped", "s"), None)])
    columns.fill(2, [None, None])
    columns.fill(4, [None])

    columns.put([0, 3, 4], Settled(b"k", Response("late"), ("late",), "live"))
    columns.put([2], Settled(b"l", Failure("Refused", "no", "paid"), None, "live"))

    made = columns.frame(pd.DataFrame(index=range(5)))
    assert ["late", None, None, "late", "late"] == values(made["completion"])
    assert [None, "Skipped: s", "Refused: no (paid)", None, None] == values(made["completion_error"])


@given(st.text(st.characters(exclude_categories=())))
def test_scrubbed_text_is_text_that_files_can_hold(text):
    """Text without lone surrogates stays as it is."""
    made = scrubbed(text)

    assert not lone(made)
    assert text == made or lone(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\ud83d", "a\ufffd"), ("\ude00\ud83d!", "\ufffd\ufffd!"), ("\ud83d\ude00", "\U0001f600"), (None, None)],
)
def test_scrubbing_costs_the_lone_half_alone(text, expected):
    """What stands around it stays, and two halves that belong together are one character."""
    assert expected == scrubbed(text)


TEXTS = st.none() | st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(["", "same", "nan"])


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Frames of random texts, with nulls, repeats and every character there is, under random indexes."""
    rows = draw(st.lists(st.tuples(TEXTS, st.integers(0, 3)), max_size=10))
    label = st.integers(0, 3) | st.none() | st.text(max_size=2)
    labels = draw(st.lists(label, min_size=len(rows), max_size=len(rows)))
    index = pd.Index(labels, dtype=object)
    if draw(st.booleans()):
        index = pd.MultiIndex.from_arrays([index.astype(str), range(len(rows))])
    texts = [text for text, _ in rows]
    able = all(text is None or not lone(text) for text in texts)
    kind = draw(st.sampled_from(["object", "str", "string", "category"])) if able else "object"
    frame = pd.DataFrame({"text": objects(*texts).astype(kind), "n": np.array([n for _, n in rows], dtype="int64")})
    return frame.set_axis(index)


def lone(text: str) -> bool:
    """Return whether a surrogate stands in the text."""
    return any("\ud800" <= mark <= "\udfff" for mark in text)


def due(text: str | None, n: int) -> tuple[str | None, str | None]:
    """Return the answer and the error of a row."""
    if text is None:
        return None, "Skipped: column 'text' is missing"
    if "\x00" in text:
        return None, "BadInput: NUL character in the prompt"
    if lone(text):
        return None, "BadInput: lone surrogate in column 'text'"
    return f"{text} ({n})", None


@pytest.mark.filterwarnings("ignore::dfllm.RowsFailedWarning")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames(), st.randoms(use_true_random=False))
def test_every_row_gets_its_own_answer_and_none_is_paid_twice(bill, frame, random):
    """Answers land in their own rows; run again, or in another order, nothing is sent and they are the same."""
    prompt = "{{ text }} ({{ n }})"
    expected = [due(text, n) for text, n in zip(values(frame["text"]), frame["n"].tolist(), strict=True)]
    order = random.sample(range(len(frame)), len(frame))

    made = frame.llm.complete(prompt, model=ECHO)
    paid = bill.requests
    again = frame.llm.complete(prompt, model=ECHO)
    shuffled = frame.iloc[order].llm.complete(prompt, model=ECHO)

    assert expected == list(zip(values(made["completion"]), values(made["completion_error"]), strict=True))
    pd.testing.assert_frame_equal(made, again)
    pd.testing.assert_frame_equal(made.iloc[order], shuffled)
    pd.testing.assert_frame_equal(frame, made[["text", "n"]])
    assert paid == bill.requests
    assert bill.distinct == bill.requests
