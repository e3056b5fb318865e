"""Whatever is wrong with a call is said, in words that name it, before a cent is spent; a wrong row costs itself."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import dfllm
from dfllm.simulator import Bill, Faults, Simulator

ECHO = "simulator/echo"
SMALL = "simulator/small"
REVIEWS = pd.DataFrame({"review": ["good", "bad", "fair"], "id": [1, 2, 3]})
HALF = "half \ud800"


@pytest.fixture
def bill(simulator: Callable[..., Simulator]) -> Bill:
    """Start a simulator and return its bill."""
    return simulator().bill


@pytest.fixture
def refused(bill: Bill) -> Callable[..., str]:
    """Return a function that makes a call, sees it refused before anything is sent, and returns what was said."""

    def call(
        error: type[dfllm.DfllmError],
        prompt: Any = "{{ review }}",
        frame: pd.DataFrame = REVIEWS,
        model: Any = ECHO,
        **options: Any,
    ) -> str:
        with pytest.raises(error) as caught:
            frame.llm.complete(prompt, model=model, **options)
        assert 0 == bill.requests
        assert type(caught.value) is error
        return str(caught.value)

    return call


def values(column: pd.Series) -> list[Any]:
    """Return a column's values, None where one is missing."""
    return [None if pd.isna(value) else value for value in column.tolist()]


# The template and the columns it reads.


def test_missing_column_is_named_with_its_nearest(refused):
    """A slip of the pen is the usual reason, and the message has the word that was meant."""
    said = refused(dfllm.TemplateError, "{{ reveiw }}")

    assert "The template asks for 'reveiw'; the frame has review, id. Did you mean 'review'?" == said


def test_missing_column_in_a_message_of_a_list_is_named(refused):
    """All templates of a conversation are looked at, the system message's too."""
    messages = [{"role": "user", "content": "{{ review }}"}, {"role": "assistant", "content": "{{ answer }}"}]

    assert "'answer'" in refused(dfllm.TemplateError, messages)
    assert "'tone'" in refused(dfllm.TemplateError, system="Be {{ tone }}.")


def test_missing_column_among_many_lists_some(refused):
    """A wide frame's columns are listed up to a dozen."""
    wide = pd.DataFrame(columns=[f"c{number}" for number in range(100)])

    said = refused(dfllm.TemplateError, "{{ text }}", wide)

    assert said.endswith("c11 and 88 more.")


def test_missing_column_of_an_empty_frame_is_named(refused):
    """No columns at all are said to be none."""
    assert "The template asks for 'text'; the frame has no columns." == refused(
        dfllm.TemplateError, "{{ text }}", pd.DataFrame()
    )


def test_label_of_another_type_is_pointed_out(refused):
    """A frame read without a header has numbers for labels, which no bare name reaches."""
    said = refused(dfllm.TemplateError, '{{ row["0"] }}', pd.DataFrame([["a"]]))

    assert "Did you mean row[0]?" in said


def test_series_has_no_column_but_value(bill):
    """The one variable of a series' template is `value`."""
    with pytest.raises(dfllm.TemplateError, match="'text'; the frame has value"):
        REVIEWS["review"].llm.complete("{{ text }}", model=ECHO)

    assert 0 == bill.requests


def test_column_that_is_there_twice_is_refused_where_it_is_read(refused):
    """Nobody can tell which one is meant."""
    twice = pd.DataFrame([["a", "b"]], columns=["review", "review"])

    assert "The template asks for 'review'; the frame has 2 columns of that name." == refused(
        dfllm.TemplateError, frame=twice
    )


def test_columns_of_several_levels_are_refused(refused):
    """New columns would have no place among them."""
    levels = pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")]))

    assert "MultiIndex" in refused(dfllm.OptionError, "hello", levels)


@pytest.mark.parametrize(
    "prompt",
    [
        "{{ review",
        "{% if review %}",
        "{{ review | nosuchfilter }}",
        "{% include 'secrets' %}",
        "{{ row[id] }}",
        "{{ }}",
    ],
)
def test_template_that_cannot_be_read_is_refused(refused, prompt):
    """The message has the line."""
    assert re.match("The template, line 1: ", refused(dfllm.TemplateError, prompt))


@pytest.mark.parametrize(
    "prompt",
    [
        "{{ review.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ review.format(review) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum() }}",
        "{{ self }}",
        "{% import 'os' as os %}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ id }}{% endfor %}{% endfor %}",
        "{{ 'a' * 99999999 }}",
        "{{ review * 99999999 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ id ** 99999999 + 2 ** 99999 }}",
        "{{ '%0999999999d' % id }}",
        "{{ 'a' | center(99999999) }}",
        "{% set a = [review] * 9999 %}{% set b = [a] * 9999 %}{{ [b] * 9999 }}",
    ],
)
def test_hostile_template_is_refused_within_a_second_a_row(refused, prompt):
    """No attributes, calls or imports, and no work without a bound: it fails on every row, so the call is refused."""
    refused(dfllm.TemplateError, prompt)


def test_cell_text_is_never_a_template(bill):
    """What looks like one in a cell is sent as it stands."""
    hostile = pd.DataFrame({"review": ["{{ id }} {% for a in b %} {# c #}", "{{ ''.__class__ }}"]})

    made = hostile.llm.complete("{{ review }}", model=ECHO)

    assert values(hostile["review"]) == values(made["completion"])


def test_template_that_fails_on_one_row_costs_that_row(bill):
    """The others are asked as usual, and one warning counts the failures."""
    with pytest.warns(dfllm.RowsFailedWarning, match=r"^1 of 3 rows have no answer \(TemplateError 1\)"):
        made = REVIEWS.llm.complete("{{ 6 / (id - 2) }}", model=ECHO)

    assert ["-6.0", None, "6.0"] == values(made["completion"])
    assert [None, "TemplateError: division by zero", None] == values(made["completion_error"])
    assert 2 == bill.requests


@pytest.mark.parametrize("rows", [1, 20, 30])
def test_template_that_fails_on_the_first_rows_refuses_the_call(refused, rows):
    """Twenty failures running, or all there are, are the template's fault and no row's."""
    frame = pd.DataFrame({"n": [0] * 20 + [1] * 10}).head(rows)

    said = refused(dfllm.TemplateError, "{{ 1 / n }}", frame)

    assert f"The template fails on the first {min(rows, 20)} rows: division by zero" == said


def test_template_that_fails_on_nineteen_rows_is_taken(bill):
    """One row that can be rendered shows that the template can be, too."""
    frame = pd.DataFrame({"n": [0] * 19 + [1]})

    with pytest.warns(dfllm.RowsFailedWarning, match="^19 of 20 rows"):
        made = frame.llm.complete("{{ 1 // n }}", model=ECHO)

    assert ["1"] == values(made["completion"])[19:]
    assert 1 == bill.requests


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("", "prompt is empty."),
        ("  \n", "prompt is empty."),
        (None, "Nothing is asked. Say prompt=, or messages="),
        (5, "prompt takes text or a list of messages; found int."),
        (b"hello", "prompt takes text or a list of messages; found bytes."),
        ({"role": "user", "content": "x"}, "prompt takes text or a list of messages; found dict."),
        (pd.Series(["a"]), "prompt takes text or a list of messages; found Series."),
        ([], "prompt needs a message of the role 'user'"),
        ([{"role": "system", "content": "x"}], "prompt needs a message of the role 'user'"),
        (["x"], "message 1 of prompt is no dict with role and content; found str."),
        ([{"role": "usr", "content": "x"}], "message 1 of prompt has the role 'usr';"),
        ([{"role": "user"}], "content of message 1 of prompt takes text; found NoneType."),
        ([{"role": "user", "content": "x", "name": "y"}], "message 1 of prompt has a key 'name'"),
    ],
)
def test_prompt_of_another_kind_is_refused(refused, prompt, said):
    """A prompt is text, a path or a list of roles and contents, and says something."""
    assert refused(dfllm.OptionError, prompt).startswith(said)


def test_prompt_file_that_is_not_there_is_named(refused, tmp_path: Path):
    """The path is in the message, whether it was given as text or as a path."""
    lost = tmp_path / "lost.j2"

    for prompt in (lost, str(lost)):
        assert f"The template {str(lost)!r} cannot be read: No such file or directory." == refused(
            dfllm.TemplateError, prompt
        )


def test_missing_values_can_refuse_the_call(refused):
    """missing="raise" wants whole rows, and says which one is not."""
    frame = pd.DataFrame({"review": ["a", None]}, index=["x", "y"])

    said = refused(dfllm.TemplateError, frame=frame, missing="raise")

    assert "Row 1: column 'review' is missing, and missing='raise'. Nothing was sent." == said


# The model, its provider, its key and where it is.


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("simulatr/echo", "no provider is called 'simulatr'. Did you mean 'simulator'?"),
        ("echo", "model='echo' does not say whose it is; write 'provider/model', such as 'openai/echo'."),
        ("/echo", "does not say whose it is"),
        ("simulator/", "model='simulator/' names a provider but no model."),
        ("acme/llm", "no provider is called 'acme'. Known providers: anthropic, "),
    ],
)
def test_unknown_provider_is_refused(refused, model, said):
    """The message has the nearest name, or all of them."""
    assert said in refused(dfllm.ProviderUnknown, model=model)


def test_no_model_at_all_is_refused(refused):
    """It says where a model can be named."""
    said = refused(dfllm.OptionError, model=None)

    says = "Say model='provider/model', dfllm.configure(model=...) or DFLLM_MODEL; in a shell, -m provider/model."
    assert f"No model is named. {says}" == said


@pytest.mark.parametrize("model", [5, "", {"simulator/echo"}, b"simulator/echo"])
def test_model_of_another_kind_is_refused(refused, model):
    """A model is text, or several in a list or a mapping."""
    assert refused(dfllm.OptionError, model=model).startswith(f"model={model!r} does not fit")


def test_unknown_model_costs_one_call_and_is_told_the_nearest(bill):
    """Only the provider knows its models; one free request finds out, for all rows."""
    with pytest.raises(dfllm.ModelNotFound, match="Did you mean 'small'") as caught:
        REVIEWS.llm.complete("{{ review }}", model="simulator/smal")

    assert 1 == bill.requests
    assert [None] * 3 == values(caught.value.frame["completion"])
    assert caught.value.frame["completion_error"].notna().all()


@pytest.mark.parametrize("value", [None, "", "  "])
def test_absent_key_is_named(refused, monkeypatch, value):
    """The variable that was looked for is in the message."""
    if value is not None:
        monkeypatch.setenv("OPENAI_API_KEY", value)

    assert "openai wants an API key and OPENAI_API_KEY is not set." in refused(dfllm.KeyMissing, model="openai/gpt")


@pytest.mark.parametrize("key", ["sk-canary-é", "sk-canary\nsecond line", "sk-canary-“"])
def test_key_that_no_header_carries_is_refused(refused, monkeypatch, key):
    """What came along in copying is said to be there, the key is not."""
    monkeypatch.setenv("OPENAI_API_KEY", key)

    said = refused(dfllm.OptionError, model="openai/gpt")

    assert "no header can carry" in said
    assert "canary" not in said


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/v1",
        "HTTP://EXAMPLE.COM/v1",
        "http://localhost.example.com/v1",
        "http://127.0.0.1.example.com/v1",
        "http://169.254.169.254/latest",
        "http://192.168.0.1/v1",
    ],
)
def test_plain_http_leaves_this_machine_never(refused, monkeypatch, url):
    """Prompts and key would travel in clear."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", url)

    assert "is plain http to another machine" in refused(dfllm.OptionError, model="openai/gpt")


def test_plain_http_of_a_registered_provider_leaves_this_machine_never(refused):
    """A provider of the user's own is held to the same."""
    dfllm.register_provider("lab", base_url="http://lab.example.com/v1")

    assert "is plain http to another machine" in refused(dfllm.OptionError, model="lab/llm")


@pytest.mark.parametrize(
    "url", ["ftp://example.com", "https://", "https://user:canary@example.com/v1", "https://h:99999"]
)
def test_base_url_that_is_none_is_refused(refused, monkeypatch, url):
    """It is said what is wrong with it, without the password that may stand in it."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", url)

    said = refused(dfllm.OptionError, model="openai/gpt")

    assert "The provider's URL" in said
    assert "canary" not in said


# Options.


@pytest.mark.parametrize("door", ["complete", "acomplete", "plan", "aplan", "iter_completions", "aiter_completions"])
def test_misspelt_option_is_told_the_nearest(bill, door):
    """Every door of the frame checks the names itself, since Python would not know the word that was meant."""
    with pytest.raises(
        dfllm.OptionError, match=rf"^{door}\(\) has no option 'temprature'. Did you mean 'temperature'\?"
    ):
        getattr(REVIEWS.llm, door)("{{ review }}", model=ECHO, temprature=0.5)

    assert 0 == bill.requests


def test_misspelt_option_of_a_series_is_told_the_nearest(bill):
    """A series' doors do, too."""
    with pytest.raises(dfllm.OptionError, match="Did you mean 'overwrite'"):
        REVIEWS["review"].llm.complete("{{ value }}", model=ECHO, overwite=True)

    assert 0 == bill.requests


def test_options_are_named(bill):
    """A second positional argument is nobody's model."""
    with pytest.raises(TypeError, match="positional"):
        REVIEWS.llm.complete("{{ review }}", ECHO)

    assert 0 == bill.requests


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("into", None),
        ("into", ""),
        ("into", 5),
        ("into", HALF),
        ("system", 5),
        ("system", ""),
        ("temperature", "0.5"),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", True),
        ("top_p", -0.1),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("stop", []),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", 5),
        ("stop", HALF),
        ("seed", 1.0),
        ("seed", 2**63),
        ("reasoning", ""),
        ("reasoning", 3),
        ("reasoning", HALF),
        ("extra", [1]),
        ("extra", {1: 2}),
        ("extra", {"x": float("nan")}),
        ("extra", {"x": {1, 2}}),
        ("extra", {"x": HALF}),
        ("extra", {"model": "other"}),
        ("extra", {"messages": []}),
        ("extra", {"n": 2}),
        ("extra", {"stream": True}),
        ("cache", "none"),
        ("cache", True),
        ("cache", None),
        ("missing", "drop"),
        ("missing", None),
        ("on_error", "ignore"),
        ("on_error", ["keep"]),
        ("overwrite", "yes"),
        ("overwrite", 1),
        ("limits", 5),
        ("limits", {"concurrency": 5}),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", float("inf")),
        ("timeout", "60"),
        ("timeout", True),
        ("tag", 5),
        ("details", "yes"),
        ("details", None),
        ("progress", "no"),
        ("progress", 1),
        ("model", f"simulator/{HALF}"),
        ("schema", 5),
        ("schema", "good"),
        ("schema", str),
        ("schema", []),
        ("schema", {}),
        pytest.param("schema", {"good", "bad"}, id="schema-a set"),
        ("schema", ["good", 1]),
        ("schema", ["good", "good"]),
        ("schema", ["good", ""]),
        ("schema", [True, False]),
        ("schema", [0.5]),
        ("schema", ["good", HALF]),
        ("schema", {"field": "text"}),
        ("schema", {1: int}),
        ("schema", {HALF: int}),
        ("schema", {"error": str}),
        ("schema", {"type": "strng"}),
    ],
    ids=ascii,
)
def test_value_that_does_not_fit_is_refused(bill, option, value):
    """The message opens with the option's name, or has it in its first words."""
    with pytest.raises(dfllm.OptionError) as caught:
        REVIEWS.llm.complete("{{ review }}", **{"model": SMALL, option: value})

    words = {"schema": "schema|[Ll]abel", "extra": "extra", "limits": "limits", "system": "system"}
    assert re.search(words.get(option, option), str(caught.value)[:60])
    assert 0 == bill.requests


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True, "5"])
def test_limits_are_whole_and_positive(concurrency):
    """A limit of nothing would wait for ever."""
    with pytest.raises(dfllm.OptionError, match="concurrency"):
        dfllm.Limits(concurrency=concurrency)


@pytest.mark.parametrize("detail", ["key", "model", "source", "tokens_in", "tokens_out", "cost", "seconds", "finish"])
def test_field_with_a_details_name_is_refused_beside_details(refused, detail):
    """Each would be made twice."""
    said = refused(dfllm.OptionError, model=SMALL, schema={detail: str}, details=True)

    assert f"'completion_{detail}'" in said


# The target columns.


@pytest.mark.parametrize(
    ("there", "overwrite", "said"),
    [
        (["completion"], None, "The frame already has 'completion', which no earlier run made"),
        (["completion_error"], None, "The frame already has 'completion_error', which no earlier run made"),
        (["completion"], False, "The frame already has 'completion' and overwrite=False."),
        (["completion", "completion_error"], False, "The frame already has 'completion' and overwrite=False."),
    ],
)
def test_target_that_is_there_is_refused(refused, there, overwrite, said):
    """The user's own column is never lost, and the refusal comes before the calls, not after them."""
    frame = REVIEWS.assign(**dict.fromkeys(there, "mine"))

    assert refused(dfllm.OptionError, frame=frame, overwrite=overwrite).startswith(said)


@pytest.mark.parametrize(
    ("there", "overwrite"),
    [(["completion", "completion_error"], None), (["completion"], True), (["completion_error"], True), ([], False)],
)
def test_target_is_replaced_where_a_run_made_it_or_the_user_says_so(bill, there, overwrite):
    """It keeps its place; what is new stands last."""
    frame = REVIEWS.assign(**dict.fromkeys(there, "mine"), last=0)

    made = frame.llm.complete("{{ review }}", model=ECHO, overwrite=overwrite)

    new = [name for name in ("completion", "completion_error") if name not in there]
    assert ["review", "id", *there, "last", *new] == list(made.columns)
    assert (["good", "bad", "fair"], [None] * 3) == (values(made["completion"]), values(made["completion_error"]))
    assert ["mine"] * 3 * len(there) == [value for name in there for value in frame[name]]


@pytest.mark.parametrize("overwrite", [None, True])
def test_target_that_the_template_reads_is_refused(refused, overwrite):
    """The next run would ask about its own answers."""
    said = refused(dfllm.OptionError, into="review", overwrite=overwrite)

    assert "The template reads 'review', which into= would overwrite. Choose another into=." == said


def test_error_column_that_the_template_reads_is_refused(refused):
    """The same holds for each column that is made."""
    frame = REVIEWS.assign(completion="", completion_error="")

    assert "'completion_error'" in refused(dfllm.OptionError, "{{ completion_error }}", frame)


def test_details_in_the_way_are_refused(refused):
    """A user's own `completion_cost` is no less theirs."""
    said = refused(dfllm.OptionError, frame=REVIEWS.assign(completion_cost=1.0), details=True)

    assert "'completion_cost', which no earlier run made" in said


# The store.


def test_store_that_is_another_file_is_refused_and_left_alone(refused, tmp_path: Path):
    """What a user kept there is not ours to write over."""
    mine = tmp_path / "mine.db"
    mine.write_bytes(b"my own notes" * 1000)
    dfllm.configure(store=mine)

    refused(dfllm.StoreError)

    assert b"my own notes" * 1000 == mine.read_bytes()


# Cells.


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (HALF, "BadInput: lone surrogate in column 'c'"),
        ("a\x00b", "BadInput: NUL character in the prompt"),
        (b"a", "BadInput: bytes cannot be sent in column 'c'"),
        (10**5000, "BadInput: integer of over 4300 digits in column 'c'"),
        ([HALF], "BadInput: lone surrogate in column 'c'"),
        ({"k": b"a"}, "BadInput: bytes cannot be sent in column 'c'"),
        (1j, "BadInput: complex cannot be sent: neither text, number, list nor dict in column 'c'"),
        (object(), "BadInput: object cannot be sent: neither text, number, list nor dict in column 'c'"),
    ],
    ids=["surrogate", "nul", "bytes", "huge", "nested surrogate", "nested bytes", "complex", "object"],
)
def test_cell_that_cannot_be_sent_costs_its_row(bill, cell, said):
    """The others are answered, the run goes on, and the message shows nothing of the cell."""
    frame = pd.DataFrame({"c": pd.Series(["a", cell, "b"], dtype=object)})

    with pytest.warns(dfllm.RowsFailedWarning, match=r"^1 of 3 rows have no answer \(BadInput 1\)"):
        made = frame.llm.complete("{{ c }}", model=ECHO)

    assert ["a", None, "b"] == values(made["completion"])
    assert [None, said, None] == values(made["completion_error"])
    assert 2 == bill.requests


def test_cell_that_cannot_be_sent_is_no_matter_where_it_is_not_read(bill):
    """Only the template's columns are looked at."""
    frame = REVIEWS.assign(blob=[b"a", object(), "\ud800"])

    assert ["good", "bad", "fair"] == values(frame.llm.complete("{{ review }}", model=ECHO)["completion"])


def test_answer_that_is_markup_is_kept_as_it_is(simulator):
    """Model output is data: columns hold it byte for byte, and nothing in them is run."""
    simulator(faults=Faults(by_text={"good": "xss"}))

    made = REVIEWS.head(1).llm.complete("{{ review }}", model=ECHO)

    assert made["completion"][0].startswith('=HYPERLINK("http://127.0.0.1:9/","open")\t<script>')


# What is no frame.


@pytest.mark.parametrize(
    "thing", [None, "text", [1], {"a": [1]}, pd.Index([1]), pd.array([1])], ids=lambda one: type(one).__name__
)
def test_llm_takes_frames_and_series_only(thing):
    """The message names what was found."""
    with pytest.raises(dfllm.OptionError, match=f"takes a pandas DataFrame or Series; found {type(thing).__name__}"):
        dfllm.llm(thing)


def test_a_mistaken_store_path_leaves_the_file_alone(tmp_path):
    """What is no store keeps its mode, and nothing is put beside it."""
    victim = tmp_path / "notes" / "victim.txt"
    victim.parent.mkdir()
    victim.write_text("hello world, this is no database\n")
    victim.chmod(0o644)

    with dfllm.options(store=victim), pytest.raises(dfllm.StoreError, match="no SQLite database"):
        pd.DataFrame({"a": ["x"]}).llm.complete("{{ a }}", model="simulator/echo")

    assert 0o644 == victim.stat().st_mode & 0o777
    assert [victim] == list(victim.parent.iterdir())


@pytest.mark.parametrize("store", ["", ":memory:"])
def test_a_store_that_is_no_path_is_refused(store):
    """An unset variable in a script must not mean the current folder."""
    with pytest.raises(dfllm.OptionError, match="no path"):
        dfllm.configure(store=store)


def test_a_store_that_cannot_be_made_is_a_store_error():
    """Whatever the model, and for a plan too."""
    with dfllm.options(store="/proc/nope/answers.db"):
        for door in ("complete", "plan"):
            with pytest.raises(dfllm.StoreError):
                getattr(pd.DataFrame({"a": ["x"]}).llm, door)("{{ a }}", model="simulator/echo")


@pytest.mark.parametrize("template", ["{{ a }}", "{# {{ a }} #}{{ a }}", " {{ a }}\n"])
def test_a_blank_prompt_is_not_sent(simulator, template):
    """Providers bill it and have nothing to say."""
    provider = simulator()

    with pytest.warns(dfllm.RowsFailedWarning):
        done = pd.DataFrame({"a": ["", "x"]}).llm.complete(template, model="simulator/echo", on_error="keep")

    assert "BadInput: the rendered prompt is blank" == done["completion_error"].iloc[0]
    assert 1 == provider.bill.requests


@pytest.mark.parametrize("template", ["\ud800 {{ a }}", "\0 {{ a }}"])
def test_a_template_no_provider_takes_is_refused(template):
    """Once for the call, not once for each row."""
    with pytest.raises(dfllm.TemplateError, match="NUL or a lone surrogate"):
        pd.DataFrame({"a": ["x"]}).llm.complete(template, model="simulator/echo")


def test_a_plan_needs_no_key():
    """People plan before they have one."""
    assert 1 == pd.DataFrame({"a": ["x"]}).llm.plan("{{ a }}", model="openai/gpt-mini").missing


def test_a_base_url_without_a_scheme_is_named(monkeypatch):
    """The message says what to write."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", "bogus.example")
    with pytest.raises(dfllm.OptionError, match=r"https://bogus\.example"):
        pd.DataFrame({"a": ["x"]}).llm.complete("{{ a }}", model="openai/gpt-mini")
