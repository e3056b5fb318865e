"""Tasks: how a verb's question meets the columns of a frame, and what no cell and no option can do to its templates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.errors import TemplateError
from dfllm._core.tasks import TURNED, Task, check_user, literal, system_of
from dfllm._core.template import Prompt, recipe_of
from dfllm._core.types import Failure

USER = "<{{ text }}>"
#: Anything that has bytes in UTF-8.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def task(text="review", *, system="", user=USER, facts=None):
    """Return a task about one text."""
    return Task("classify", {"text": ("text", text)}, system, user, facts or {})


def said(asked, row, missing="skip"):
    """Return what is said about one row: the contents of its messages, or its failure."""
    prompt = Prompt(recipe_of(asked.messages(list(row)), missing=missing))
    made = prompt.renderer()([row[column] for column in prompt.columns])
    return made if isinstance(made, Failure) else [message.content for message in made]


@given(PLAIN)
def test_a_literal_is_the_value_it_was_made_of(value):
    """Whatever a fact is, a template in which it is written has it again."""
    prompt = Prompt(recipe_of(f"{{{{ {literal([value])} | tojson }}}}{{{{ review }}}}"))
    other = Prompt(recipe_of("{{ value | tojson }}{{ review }}"))

    assert prompt.renderer()(["!"]) == other.renderer()(["!", [value]])


@given(TEXTS.filter(str.strip), TEXTS.filter(str.strip))
def test_no_cell_and_no_fact_is_ever_a_template(cell, fact):
    """What stands in a cell or in an option comes out as it went in, whatever jinja would make of it."""
    asked = task(system=fact, user="{{ rule }}|{{ text }}", facts={"rule": fact})

    assert [fact, f"{fact}|{cell}"] == said(asked, {"review": cell})


@pytest.mark.parametrize(
    "label", ["review", "the review", "2nd", "{{ x }}", 'a"b\\c', "größe", "row", "_x", "text", "😀"]
)
@pytest.mark.parametrize("user", [USER, "<{% for word in text.split() %}{{ word }}{% endfor %}>"])
def test_the_name_of_a_column_means_the_column(label, user):
    """Also where the name is no identifier, and where it could be read as a template."""
    assert ["<cell>"] == said(task(label, user=user), {label: "cell", "x": "other"})


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("{{ title }}: {{ body }}", "<T: B>"),
        ('{{ row["a b"] }}', "<AB>"),
        ("{% if body %}{{ body | upper }}{% endif %}", "<B>"),
        ("{{ text }}", "<X>"),
        ("{% set text = title %}{{ text }}", "<T>"),
        ("{{ labels }}", "<L>"),
        ("{{- title -}}", "<T>"),
    ],
)
def test_any_other_text_is_a_template(text, made):
    """Its variables are the columns, also those with the name of something in the prompt."""
    row = {"title": "T", "body": "B", "a b": "AB", "text": "X", "labels": "L"}

    assert [made] == said(task(text, facts={"labels": ["no"]}), row)


@pytest.mark.parametrize("text", ["review", "{{ review }}", "{{ review }}{{ other }}"])
def test_a_missing_cell_skips_the_row(text):
    """As it does in any prompt."""
    assert Failure("Skipped", "column 'review' is missing") == said(task(text), {"review": None, "other": "x"})


@pytest.mark.parametrize("cell", ["", " \n\t"])
@pytest.mark.parametrize("text", ["review", "{{ review }}"])
def test_a_blank_text_leaves_nothing_to_send(text, cell):
    """The delimiters alone are no question."""
    assert [""] == said(task(text), {"review": cell})


def test_a_missing_cell_that_is_to_be_rendered_is_blank():
    """So it is not sent either."""
    assert [""] == said(task(), {"review": None}, missing="render")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("reviw", "text='reviw' is no column .* Did you mean 'review'?"),
        ("{{ reviw }}", "text= asks for 'reviw'; .* Did you mean 'review'?"),
        ("{% if %}", "text= is no column, and as a template"),
        ("{{ 1 }}", "reads none"),
        ("{% endset %}{{ review }}", "text= is no column, and as a template"),
    ],
)
def test_a_text_that_is_neither_is_refused(text, said):
    """The message names the nearest column."""
    with pytest.raises(TemplateError, match=said):
        task(text).messages(["review", "date"])


def test_a_column_that_is_there_twice_is_refused():
    """Nobody knows which one is meant."""
    with pytest.raises(TemplateError, match="2 columns of that name"):
        task().messages(["review", "review"])


@pytest.mark.parametrize("texts", [("a", "b"), ("{{ a }}", "{{ b }}"), ("a", "{{ b }}")])
def test_a_pair_changes_places_where_its_row_says_so(texts):
    """Both rows of a pair have the same columns; one column more says which is which."""
    pair = {"first": ("a", texts[0]), "second": ("b", texts[1])}
    asked = Task("judge", pair, "", "{{ first }} or {{ second }}", {})

    made = [said(asked, {"a": "A", "b": "B", TURNED: turned}) for turned in (False, True)]

    assert [["A or B"], ["B or A"]] == made


def test_a_fact_that_is_missing_prints_nothing_and_is_false():
    """An option that was not given is no word in the prompt."""
    source, facts = "({{ style }}{% if style %}!{% endif %})", {"style": None}

    assert "()" == system_of(source, facts)
    assert ["()cell"] == said(task(user=source + "{{ text }}", facts=facts), {"review": "cell"})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ text }}", "reads 'text'"),
        ("{{ lables }}", "Did you mean 'labels'?"),
        ("{% if %}", "The system message of prompt="),
        ("{{ labels.x.y }}", "cannot be rendered"),
    ],
)
def test_a_system_message_knows_no_row(source, said):
    """It is the same for all rows; what a row brings is refused in it."""
    with pytest.raises(TemplateError, match=said):
        system_of(source, {"labels": ["a"]})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("Classify it.", "does not read 'text'"),
        ("{{ text }}{{ txet }}", "Did you mean 'text'?"),
        ('{{ text }}{{ row["review"] }}', "reads 'review'"),
        ("{{ text }", "The user's message of prompt="),
        ("", "does not read 'text'"),
    ],
)
def test_a_user_message_must_have_the_text(source, said):
    """And nothing that is not there."""
    with pytest.raises(TemplateError, match=said):
        check_user(source, ["text"], {"labels": ["a"]})


def test_user_sources_cannot_close_what_is_around_them():
    """A template that ends blocks it has not begun is refused by itself, before it stands in another one."""
    closing = "{{ text }}{% endif %}{% endwith %}{{ text }}{% with x=1 %}{% if x %}"

    with pytest.raises(TemplateError, match="line 1"):
        check_user(closing, ["text"], {})
