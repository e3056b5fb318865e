"""Templates: recipes are checked once, rows become messages or failures, and nothing is left from row to row."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, StrictUndefined

from dfllm._core.errors import OptionError, TemplateError
from dfllm._core.template import Prompt, check_columns, recipe_of
from dfllm._core.types import Failure, Message, Recipe

PLAIN = Environment(undefined=StrictUndefined)


def prompt(*contents, missing="skip"):
    """Return the prompt of these templates, user and assistant in turn."""
    roles = ("user", "assistant")
    return Prompt(Recipe(tuple(Message(roles[n % 2], content) for n, content in enumerate(contents)), missing))


def text(source, *values, missing="skip"):
    """Return what one row renders to."""
    made = prompt(source, missing=missing).renderer()(values)
    return made if isinstance(made, Failure) else made[0].content


def skipped(label):
    """Return the failure of a row with a missing cell."""
    return Failure("Skipped", f"column {label!r} is missing")


def test_messages_keep_role_and_order():
    """Each template becomes one message, and values go to names in the order of the columns."""
    made = Prompt(
        Recipe((Message("system", "You are {{ who }}."), Message("user", "{{ ask }}"), Message("assistant", "Yes?")))
    )

    assert made.columns == ("ask", "who")
    assert (
        Message("system", "You are a cook."),
        Message("user", "What is salt?"),
        Message("assistant", "Yes?"),
    ) == made.renderer()(["What is salt?", "a cook"])


@pytest.mark.parametrize(
    ("contents", "opening", "fixed"),
    [
        (["Say hello."], ["Say hello."], 10),
        (["Where is {{ x }}, in short?"], ["Where is "], 20),
        (["{{ x }}: where is it?"], [], 14),
        (["Rome?", "Italy.", "{{ x }}?"], ["Rome?", "Italy."], 12),
        (["Rome?", "{{ x }}", "And Lima?"], ["Rome?"], 14),
        (["{% set y = x|upper %}Is {{ y }} é?"], ["Is "], 7),
        (["A {% if x %}B {% endif %}C"], ["A "], 3),
        (["{% for i in range(2) %}{{ i }}{% endfor %}{{ x }}", "B"], [], 1),
        (["{# not sent #}A {{ x|upper }}"], ["A "], 2),
        (["{{ 1 }}A{{ x }}"], [], 1),
    ],
)
def test_prefix_is_what_every_row_begins_with(contents, opening, fixed):
    """It ends at the first thing that may differ; text behind that is fixed too, in bytes of UTF-8."""
    made = prompt(*contents)

    assert opening == [message.content for message in made.prefix]
    assert fixed == made.fixed_bytes
    rendered = made.renderer()(["Oslo"] * len(made.columns))
    assert all(said.content.startswith(begun.content) for begun, said in zip(made.prefix, rendered, strict=False))


def test_constant_messages_are_made_once():
    """A message without columns is the same object in every row."""
    render = prompt("{{ x }}", "{% for i in range(3) %}{{ i }}{% endfor %}").renderer()

    first, second = render(["a"]), render(["b"])

    assert Message("assistant", "012") == first[1]
    assert first[1] is second[1]


def test_prompt_without_columns_renders():
    """A prompt may read nothing of its rows."""
    made = prompt("Say hello.")

    assert made.columns == ()
    assert (Message("user", "Say hello."),) == made.renderer()(())


def test_columns_are_sorted_labels():
    """Names and labels of any kind, each once; the values go where the labels are."""
    made = prompt("{{ b }}{{ row['a b'] }}{{ row[10] }}{{ row['b'] }}", "{{ a }}{{ row[9] }}{{ row['a', 'c'] }}")
    values = ["(a, c)", "10", "9", "a", "a b", "b"]

    assert made.columns == (("a", "c"), 10, 9, "a", "a b", "b")
    assert [message.content for message in made.renderer()(values)] == ["ba b10b", "a9(a, c)"]


def test_label_and_name_are_one_column():
    """A column may be read both ways, also where the template sets the name to something else."""
    source = "{{ row['x'] }}{{ x }}{% set x = x|upper %}{{ x }}{{ row['x'] }}"

    assert prompt(source).columns == ("x",)
    assert text(source, "a") == "aaAa"


@pytest.mark.parametrize("label", ["product name", 3, -1, "class", "_x", "self", "loop", "ﬁ", 'quote"s', ("a", "b")])
def test_odd_labels_are_read_by_row(label):
    """Any label a frame can have can be written."""
    source = f"{{{{ row[{label!r}] }}}}" if not isinstance(label, tuple) else "{{ row['a', 'b'] }}"

    assert (label,) == prompt(source).columns
    assert text(source, "here") == "here"
    assert skipped(label) == text(source, None)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ x }}", skipped("x")),
        ("a{{ x|upper }}b", skipped("x")),
        ("{{ [y, x]|join }}", skipped("x")),
        ("{{ x and y }}", skipped("x")),
        ("{{ x if y else '' }}", skipped("x")),
        ("{{ y if x else 'no' }}", "no"),
        ("{% if x %}{{ x }}{% else %}no{% endif %}", "no"),
        ("{% if x is none %}no{% endif %}", "no"),
        ("{% if x is not none %}{{ x }}{% endif %}", ""),
        ("{% if x is defined %}{{ x }}{% endif %}", ""),
        ("{% if x == none %}no{% endif %}", "no"),
        ("{% if none == x %}no{% endif %}", "no"),
        ("{% if x != none %}{{ x }}{% endif %}", ""),
        ("{% if x == 'a' %}{{ x }}{% endif %}", ""),
        ("{% if x in ('a', y) %}{{ x }}{% endif %}", ""),
        ("{{ x|default('no') }}", "no"),
        ("{{ x|d(y) }}", "y"),
        ("{{ x or y }}", "y"),
        ("{{ [x, y]|select|join }}", "y"),
        ("{{ [x, y]|reject('none')|join }}", "y"),
        ("{% set z = x|default('no') %}{{ z }}", "no"),
        ("{{ y }}", "y"),
    ],
)
@pytest.mark.parametrize("missing", ["skip", "raise"])
def test_missing_cell_skips_where_it_is_printed(source, expected, missing):
    """A template that tests for a missing cell decides for itself; one that uses it ends the row."""
    made = prompt(source, missing=missing)

    said = made.renderer()([{"x": None, "y": "y"}[column] for column in made.columns])

    assert expected == (said if isinstance(said, Failure) else said[0].content)


def test_first_missing_message_skips_the_row():
    """A row is sent whole or not at all."""
    assert skipped("b") == prompt("{{ a }}", "{{ b }}").renderer()(["a", None])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<{{ x }}>", "<>"),
        ("{{ x|upper|default('no') }}{{ x|default('no') }}", "no"),
        ("{{ x ~ 'a' }}{{ x.a }}{{ x.upper() }}{{ x[:3] }}", "a"),
        ("{% if x is none %}no{% endif %}{% if x %}yes{% endif %}", "no"),
        ("{% for y in x %}{{ y }}{% else %}none{% endfor %}", "none"),
    ],
)
def test_missing_cell_renders_as_nothing(source, expected):
    """Where the user asks for it, a missing cell is empty text."""
    assert expected == text(source, None, missing="render")


@pytest.mark.parametrize(
    ("source", "value", "reason"),
    [
        ("{{ x.a }}", {}, "'dict object' has no attribute 'a'"),
        ("{{ x.a.b }}", {"a": None}, "'None' has no attribute 'b'"),
        ("{{ x[9] }}", [], "'list' object has no element 9"),
        ("{{ {}[x] }}", "secret", "'dict' object has no element of that name"),
        ("{{ '%(a)s' % x }}", {}, "no such key"),
        ("{{ x + 1 }}", "secret", 'can only concatenate str (not "int") to str'),
        ("{{ 1 / x }}", 0, "division by zero"),
        ("{{ x * x }}", 10**2200, "over 4300 digits"),
        ("{% for y in range(x) %}{% endfor %}", 10**6, "over 100,000 steps"),
        ("{% for y in x %}{% for z in x %}{% endfor %}{% endfor %}", [0] * 400, "over 100,000 steps"),
        ("{{ x * 10**6 }}", "secret secret", "over 8 MiB"),
        ("{% for y in x %}{{ y|title|upper|lower|title }}{% endfor %}", ["a b" * 9000] * 29, "over 1 s"),
        ("{{ x|truncate(1) }}", "secret", "expected length >= 3, got 1"),
        ("{{ x|sort }}", [1, "secret"], "'<' not supported between instances of 'str' and 'int'"),
    ],
)
def test_row_fails_with_a_reason(source, value, reason):
    """What goes wrong with one row is that row's failure, and shows nothing of its cells."""
    made = text(source, value)

    assert isinstance(made, Failure)
    assert made.type == "TemplateError"
    assert made.reason.startswith(reason)
    assert "secret" not in made.reason


def test_time_is_the_last_limit():
    """A clock may be given; where a second of it has passed, the row ends."""
    ticks = iter([0.0, 0.5, 1.5])
    render = prompt("{{ x|upper }}{{ x|lower }}{{ x|title }}").renderer(lambda: next(ticks))

    assert Failure("TemplateError", "over 1 s") == render(["a" * 600_000])


def test_rows_leave_nothing_behind():
    """Names set, limits used up and rows that failed half way do not reach the next row."""
    source = (
        "{% if x %}{% set y = x %}{% endif %}{% for i in range(n) %}{% for j in range(9) %}{% endfor %}{% endfor %}"
    )
    render = prompt(source + "{{ y }}").renderer()
    unset = Failure("TemplateError", "'y' is undefined")
    over = Failure("TemplateError", "over 100,000 steps")

    made = [render(values) for values in [(9000, "a"), (9000, ""), (99999, "b"), (9000, "c"), (0, None)]]

    assert [(Message("user", "a"),), unset, over, (Message("user", "c"),), unset] == made


def test_wrong_number_of_values_is_the_callers_mistake():
    """It must never happen that a row is rendered with the cells of another."""
    render = prompt("{{ x }}{{ y }}").renderer()
    render(["a", "b"])

    with pytest.raises(ValueError, match="1 values for 2 columns"):
        render(["c"])


def test_threads_share_a_prompt():
    """Each thread has a renderer of its own."""
    shared = prompt("{% set y = x %}{% for i in range(20) %}{{ y }}{% endfor %}")
    wrong = []

    def work(word):
        render = shared.renderer()
        wrong.extend(made for made in (render([word]) for _ in range(300)) if made[0].content != word * 20)

    threads = [threading.Thread(target=work, args=(word,)) for word in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


@given(st.text(), st.text(), st.lists(st.text()))
def test_rows_in_a_row_are_as_jinja_renders_them(a, b, tags):
    """One renderer, refilled, gives each row what a render of its own would."""
    source = "{{ a }}|{% set c = b|trim %}{{ c }}|{% for t in tags %}{{ loop.index }}{{ t|upper }}{% endfor %}"
    render, plain = prompt(source).renderer(), PLAIN.from_string(source)
    rows = [(a, b, tags), (b, a, []), (a, a, tags[::-1])]

    expected = [plain.render(a=x, b=y, tags=z) for x, y, z in rows]

    assert expected == [render(row)[0].content for row in rows]


def test_rendering_is_faster_than_jinjas():
    """A simple row costs less than half of what `template.render` takes, a loop no more than a fifth above it."""
    rows = [[f"a review of usual length, number {n}"] for n in range(3000)]
    simple, loop = "Classify: {{ x }}", "{% for y in x %}{{ loop.index }}. {{ y }}\n{% endfor %}"
    lists = [[[f"item {n}" for n in range(12)]]] * 500

    def ratio(source, values):
        render, plain = prompt(source).renderer(), PLAIN.from_string(source)
        ours, theirs = [], []
        for _ in range(7):
            began = time.thread_time()
            for row in values:
                render(row)
            between = time.thread_time()
            for row in values:
                plain.render(x=row[0])
            ours.append(between - began)
            theirs.append(time.thread_time() - between)
        return min(ours) / min(theirs)

    assert ratio(simple, rows) < 0.5
    assert ratio(loop, lists) < 1.2


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (["{{ x"], "The template, line 1: unexpected end of template, expected 'end of print statement'."),
        (
            ["ok", "\n{{ x|uper }}"],
            "The template of message 2 (assistant), line 2: no filter 'uper' can be used. Did you mean 'upper'?",
        ),
        (["{{ 1 / 0 }}"], "The template cannot be rendered: division by zero"),
        (
            ["{{ x }}", "{% for i in range(10**9) %}{% endfor %}"],
            "The template of message 2 (assistant) cannot be rendered: over 100,000 steps",
        ),
    ],
)
def test_broken_template_raises_before_any_row(contents, message):
    """The error says which message it is, where there are several, and on which line."""
    with pytest.raises(TemplateError) as caught:
        prompt(*contents)

    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("needed", "available", "message"),
    [
        (["a", 3], [3, "a", "b"], None),
        ([], [], None),
        (["txet"], ["text", "id"], "The template asks for 'txet'; the frame has text, id. Did you mean 'text'?"),
        (["x"], [], "The template asks for 'x'; the frame has no columns."),
        (["x"], ["y", "x", "x"], "The template asks for 'x'; the frame has 2 columns of that name."),
        (["y"], ["y", "x", "x"], None),
        ([3], ["3", 4], "The template asks for 'row[3]'; the frame has '3', 4. Did you mean row['3']?"),
        (["3"], [3, 4], "The template asks for \"row['3']\"; the frame has 3, 4. Did you mean row[3]?"),
        (
            [("a", "b")],
            [("a", "c")],
            "The template asks for \"row[('a', 'b')]\"; the frame has ('a', 'c'). Did you mean \"('a', 'c')\"?",
        ),
    ],
)
def test_columns_are_checked(needed, available, message):
    """A column that is not there, or there twice, is an error that names it and what may have been meant."""
    if message is None:
        check_columns(needed, available)
        return

    with pytest.raises(TemplateError) as caught:
        check_columns(needed, available)

    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("Hi {{ x }}",), Recipe((Message("user", "Hi {{ x }}"),), "skip")),
        (
            ("Hi", "You are a cook.", "render"),
            Recipe((Message("system", "You are a cook."), Message("user", "Hi")), "render"),
        ),
        (
            ([{"role": "developer", "content": "a"}, {"content": "b", "role": "user"}], "c", "raise"),
            Recipe((Message("system", "c"), Message("developer", "a"), Message("user", "b")), "raise"),
        ),
        (([{"role": "assistant", "content": "a"}],), Recipe((Message("assistant", "a"),), "skip")),
    ],
)
def test_recipe_is_what_was_given(given, expected):
    """Text is one user message; a list is taken in its order, a system message goes first."""
    assert expected == recipe_of(*given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("",), "prompt is empty."),
        ((" \n",), "prompt is empty."),
        (("Hi", ""), "system is empty."),
        (("Hi", 3), "system takes text; found int."),
        ((3,), "prompt takes text or a list of messages; found int."),
        ((b"Hi",), "prompt takes text or a list of messages; found bytes."),
        (("Hi", None, "drop"), "missing takes 'skip', 'render', 'raise'; found 'drop'."),
        (([],), "prompt needs a message of the role 'user'; a conversation cannot be of instructions alone."),
        (
            ([{"role": "system", "content": "a"}],),
            "prompt needs a message of the role 'user'; a conversation cannot be of instructions alone.",
        ),
        ((["Hi"],), "message 1 of prompt is no dict with role and content; found str."),
        (
            ([{"role": "user", "content": "a", "contant": "b"}],),
            "message 1 of prompt has a key 'contant'; it takes role and content. Did you mean 'content'?",
        ),
        (
            ([{"role": "user", "content": "a"}, {"role": "usr", "content": "b"}],),
            "message 2 of prompt has the role 'usr'; roles are system, developer, user, assistant."
            " Did you mean 'user'?",
        ),
        (
            ([{"content": "a"}],),
            "message 1 of prompt has the role None; roles are system, developer, user, assistant.",
        ),
        (([{"role": "user"}],), "content of message 1 of prompt takes text; found NoneType."),
        (([{"role": "user", "content": " "}],), "content of message 1 of prompt is empty."),
        (
            ([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}], "c"),
            "The list of messages has a system message already; give that or system=, not both.",
        ),
    ],
)
def test_recipe_refuses_with_a_reason(given, message):
    """What is wrong is said in the words of the option."""
    with pytest.raises(OptionError) as caught:
        recipe_of(*given)

    assert message == str(caught.value)
