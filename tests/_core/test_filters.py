"""Filters and tests: jinja2's own where they are ordinary, refused where they would be too much."""

from __future__ import annotations

import json

import pytest
from jinja2 import Environment, StrictUndefined

from dfllm._core.filters import FILTERS, TESTS
from dfllm._core.template import Prompt, recipe_of
from dfllm._core.types import Failure

PLAIN = Environment(undefined=StrictUndefined)
# The one filter of ours that is another than jinja2's: prompts are no HTML.
PLAIN.filters["tojson"] = lambda value, indent=None: json.dumps(
    value, sort_keys=True, ensure_ascii=False, indent=indent
)
ROW = {
    "text": 'The "quick" <b>brown</b> fox &amp; the lazy dog\nruns-away quickly',
    "long": "word " * 100 + "\n" + "élan " * 50,
    "number": -1234.567,
    "count": 42,
    "empty": "",
    "tags": ["b", "A", "c", "a"],
    "nested": [["x", 1], ["y", 2]],
    "people": [
        {"name": "Ann", "age": 31, "home": {"city": "Oslo"}},
        {"name": "bob", "age": 27, "home": {"city": "Lima"}},
        {"name": "Cy", "age": 31, "home": {"city": "Oslo"}},
    ],
    "facts": {"b": 2, "a": [1, None], "C": "<'&'>é"},
    "flag": True,
}
ORDINARY_FILTERS = {
    "abs": "{{ number|abs }}",
    "capitalize": "{{ text|capitalize }}{{ long|capitalize }}",
    "count": "{{ tags|count }}",
    "d": "{{ facts.x|d('none') }}",
    "default": "{{ facts.x|default }}{{ empty|default('x', true) }}{{ empty|default(boolean=true) }}",
    "dictsort": "{{ facts|dictsort }}{% for k, v in facts|dictsort(true, reverse=true) %}{{ k }}{% endfor %}",
    "e": "{{ text|e }}",
    "escape": "{{ long|escape }}{{ count|escape }}",
    "filesizeformat": "{{ 123456789|filesizeformat }}{{ count|filesizeformat(true) }}",
    "first": "{{ tags|first }}{{ text|first }}{{ facts|first }}",
    "float": "{{ '1.5'|float }}{{ 'x'|float(2.5) }}{{ count|float }}{{ ('9' * 9000 ~ 'x')|float }}",
    "groupby": "{% for city, all in people|groupby('home.city') %}{{ city }}:{{ all|length }}{% endfor %}"
    "{% for group in people|groupby('age') %}{{ group.grouper }}{{ group.list|join(attribute='name') }}{% endfor %}",
    "indent": "{{ text|indent }}{{ text|indent(2, first=true) }}{{ text|indent('> ', true, true) }}",
    "int": "{{ '42.9'|int }}{{ 'x'|int(7) }}{{ '0x1f'|int(base=16) }}{{ 2.9|int }}",
    "items": "{% for k, v in facts|items %}{{ k }}={{ v }} {% endfor %}",
    "join": "{{ tags|join(', ') }}{{ nested|join }}{{ people|join('/', attribute='name') }}{{ [1, none]|join }}",
    "last": "{{ tags|last }}{{ text|last }}",
    "length": "{{ text|length }}{{ tags|length }}{{ facts|length }}",
    "list": "{{ 'abc'|list }}{{ facts|list }}{{ range(3)|list }}",
    "lower": "{{ text|lower }}{{ long|lower }}{{ count|lower }}",
    "map": "{{ people|map(attribute='home.city')|list }}{{ tags|map('upper')|join }}"
    "{{ people|map(attribute='x', default='-')|list }}{{ tags|map('replace', 'a', 'o')|list }}",
    "max": "{{ tags|max }}{{ people|max(attribute='age') }}",
    "min": "{{ tags|min(case_sensitive=true) }}{{ [3, 1]|min }}",
    "reject": "{{ [1, 2, 3]|reject('odd')|list }}",
    "rejectattr": "{{ people|rejectattr('age', 'gt', 30)|map(attribute='name')|list }}",
    "replace": "{{ text|replace('quick', 'slow') }}{{ text|replace('', '.', 3) }}{{ 'aa'|replace('a', 'b', count=1) }}",
    "reverse": "{{ text|reverse }}{{ tags|reverse|list }}",
    "round": "{{ number|round }}{{ number|round(1) }}{{ number|round(-2, 'ceil') }}{{ number|round(2, 'floor') }}",
    "safe": "{{ text|safe }}{{ count|safe }}",
    "select": "{{ [0, 1, 2]|select|list }}{{ range(9)|select('divisibleby', 3)|list }}",
    "selectattr": "{{ people|selectattr('home.city', 'equalto', 'Oslo')|map(attribute='name')|join(',') }}",
    "sort": "{{ tags|sort }}{{ tags|sort(true, true) }}{{ people|sort(attribute='age,name')|join(attribute='name') }}",
    "string": "{{ number|string }}{{ facts|string }}{{ none|string }}",
    "striptags": "{{ text|striptags }}",
    "sum": "{{ [1, 2.5]|sum }}{{ people|sum(attribute='age') }}{{ [1]|sum(start=10) }}{{ []|sum }}",
    "title": "{{ text|title }}{{ long|title }}",
    "tojson": "{{ facts|tojson }}{{ people|tojson(indent=2) }}{{ text|tojson }}",
    "trim": "{{ '  a '|trim }}{{ 'xxaxx'|trim('x') }}{{ long|trim('w ') }}",
    "truncate": "{{ text|truncate(20) }}{{ long|truncate(30, true, '…') }}{{ text|truncate(9, leeway=99) }}",
    "unique": "{{ tags|unique|list }}{{ people|unique(attribute='age')|map(attribute='name')|list }}",
    "upper": "{{ text|upper }}{{ 'straße'|upper }}{{ long|upper }}",
    "wordcount": "{{ text|wordcount }}{{ long|wordcount }}",
    "wordwrap": "{{ long|wordwrap(20) }}{{ text|wordwrap(5, false) }}{{ text|wordwrap(width=3, wrapstring='|') }}",
}
ORDINARY_TESTS = {
    "boolean": "{{ flag is boolean }}{{ count is boolean }}",
    "false": "{{ flag is false }}",
    "true": "{{ flag is true }}",
    "integer": "{{ count is integer }}{{ number is integer }}",
    "float": "{{ count is float }}{{ number is float }}",
    "mapping": "{{ facts is mapping }}{{ tags is mapping }}",
    "number": "{{ count is number }}{{ text is number }}",
    "odd": "{{ 3 is odd }}",
    "even": "{{ count is even }}",
    "divisibleby": "{{ count is divisibleby 7 }}{{ count is divisibleby(4) }}",
    "defined": "{{ count is defined }}{{ facts.x is defined }}",
    "undefined": "{{ facts.x is undefined }}{{ none is undefined }}",
    "none": "{{ none is none }}{{ empty is none }}",
    "sameas": "{{ flag is sameas true }}{{ none is sameas none }}{{ 1 is sameas true }}",
    "string": "{{ text is string }}{{ count is string }}",
    "sequence": "{{ text is sequence }}{{ tags is sequence }}{{ count is sequence }}{{ facts is sequence }}",
    "iterable": "{{ text is iterable }}{{ count is iterable }}{{ range(3) is iterable }}",
    "lower": "{{ 'abc' is lower }}{{ long is lower }}",
    "upper": "{{ 'ABC' is upper }}{{ text is upper }}",
    "in": "{{ 'b' is in tags }}{{ 'b' is in(facts) }}{{ 'fox' is in text }}",
    **{
        name: f"{{{{ [1, 2, 3]|select('{name}', 2)|list }}}}{{{{ ['a', text]|select('{name}', text)|list }}}}"
        for name in (
            "==",
            "eq",
            "equalto",
            "!=",
            "ne",
            ">",
            "gt",
            "greaterthan",
            ">=",
            "ge",
            "<",
            "lt",
            "lessthan",
            "<=",
            "le",
        )
    },
}


def rendered(source, missing="skip", **row):
    """Return the text of one row, or its failure."""
    prompt = Prompt(recipe_of(source, missing=missing))
    made = prompt.renderer()([row.get(column) for column in prompt.columns])
    return made if isinstance(made, Failure) else made[0].content


@pytest.mark.parametrize("name", FILTERS)
def test_filter_is_jinjas(name):
    """A filter gives what jinja2's gives; a new one fails here until it has an entry in ORDINARY_FILTERS."""
    source = ORDINARY_FILTERS[name]

    assert PLAIN.from_string(source).render(**ROW) == rendered(source, **ROW)


@pytest.mark.parametrize("name", TESTS)
def test_test_is_jinjas(name):
    """A test gives what jinja2's gives; a new one fails here until it has an entry in ORDINARY_TESTS."""
    source = ORDINARY_TESTS[name]

    assert PLAIN.from_string(source).render(**ROW) == rendered(source, **ROW)


@pytest.mark.parametrize(
    "name",
    ["attr", "batch", "center", "forceescape", "format", "pprint", "random", "slice", "urlencode", "urlize", "xmlattr"],
)
def test_other_filters_do_not_exist(name):
    """What reaches attributes, formats, belongs to HTML, blows up or is random is left out."""
    assert name in PLAIN.filters
    assert name not in FILTERS


@pytest.mark.parametrize("name", ["callable", "escaped", "filter", "test"])
def test_other_tests_do_not_exist(name):
    """What asks about the machinery is left out."""
    assert name in PLAIN.tests
    assert name not in TESTS


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ tags|map('upper') }}", "['B', 'A', 'C', 'A']"),
        ("{{ tags|select('in', ['a']) }}", "['a']"),
        ("{{ tags|unique }}", "['b', 'A', 'c']"),
        ("{{ tags|reverse }}", "['a', 'c', 'A', 'b']"),
    ],
)
def test_generators_are_lists(source, expected):
    """What jinja2 prints as a generator with an address in memory would be another prompt each time."""
    assert expected == rendered(source, **ROW)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ text|replace('', text) }}", "over 8 MiB"),
        ("{{ text|replace('a', text * 100) }}", "over 8 MiB"),
        ("{{ text|indent(10**9) }}", "over 8 MiB"),
        ("{{ text|indent(text * 1000) }}", "over 8 MiB"),
        ("{{ text|list|join(text) }}", "over 8 MiB"),
        ("{{ text|tojson(indent=17) }}", "over 16 characters of indent"),
        ("{{ ([text] * 500)|tojson }}", "over 8 MiB"),
        ("{{ ([[tags, tags]] * 40000)|tojson(indent=16) }}", "over 8 MiB"),
        ("{{ text|wordwrap(1, wrapstring=text) }}", "over 8 MiB"),
        ("{{ (text * 80)|wordwrap(1) }}", "over 1 s"),
        ("{{ text|trim(text) }}", "over 100 characters to strip"),
        ("{{ one|round(-10**9) }}", "over 400 places"),
        ("{{ one|round(10**9, 'ceil') }}", "over 400 places"),
        ("{{ (text * 10)|list }}", "over 100,000 items"),
        ("{{ [tags, tags]|sum(start=[]) }}", "sum takes numbers, not 'list'"),
        ("{{ ([tags.x] * 9000)|map('default', text) }}", "over 8 MiB"),
        ("{{ ([tags] * 9000)|map(attribute='x', default=text) }}", "over 8 MiB"),
        ("{{ text|filesizeformat }}", "filesizeformat takes a number, not 'str'"),
        ("{{ text|map(text) }}", "map takes the name of a filter, or attribute="),
        ("{{ text|map('%s' % '~') }}", "map takes the name of a filter, or attribute="),
        ("{{ tags|items }}", "items takes a dict"),
        ("{{ text is odd }}", "odd takes numbers, not 'str'"),
        ("{{ 9 is divisibleby text }}", "divisibleby takes numbers, not 'str'"),
        ("{{ tags|select('%s' % 'callable') }}", "No test named 'callable'."),
    ],
)
def test_too_much_is_refused(source, reason):
    """A filter that could blow up says so before it does."""
    assert Failure("TemplateError", reason) == rendered(source, text="a b" * 4000, tags=["a"], one=5)


@pytest.mark.parametrize("name", sorted(set(FILTERS) - {"d", "default"}))
def test_filters_of_missing_cells_skip(name):
    """Every filter but ``default`` uses what it is given."""
    arguments = {"replace": "('a', 'b')", "groupby": "('a')", "selectattr": "('a')", "rejectattr": "('a')"}
    arguments |= {"map": "('upper')"}

    said = rendered(f"{{{{ cell|{name}{arguments.get(name, '')} }}}}", cell=None)

    assert Failure("Skipped", "column 'cell' is missing") == said


@pytest.mark.parametrize("name", FILTERS)
def test_filters_of_blank_cells_render(name):
    """Where missing cells are rendered, filters take them as empty."""
    arguments = {"replace": "('a', 'b')", "groupby": "('a')", "selectattr": "('a')", "rejectattr": "('a')"}
    arguments |= {"map": "('upper')"}
    expected = {
        "count": "0", "float": "0.0", "int": "0", "length": "0", "sum": "0", "tojson": '""', "wordcount": "0",
        **dict.fromkeys(("dictsort", "groupby", "items", "list", "map", "reject", "rejectattr"), "[]"),
        **dict.fromkeys(("select", "selectattr", "sort", "unique"), "[]"),
        **dict.fromkeys(("max", "min"), Failure("TemplateError", "No aggregated item, sequence was empty.")),
    }  # fmt: skip

    assert expected.get(name, "") == rendered(f"{{{{ cell|{name}{arguments.get(name, '')} }}}}", "render", cell=None)


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("none", "True"),
        ("defined", "False"),
        ("undefined", "True"),
        ("sameas none", "True"),
        ("sameas true", "False"),
        ("string", "False"),
        ("number", "False"),
        ("mapping", "False"),
        ("boolean", "False"),
        ("eq none", "True"),
        ("ne none", "False"),
        ("in ['a', none]", "True"),
        ("in ['a']", "False"),
    ],
)
@pytest.mark.parametrize("missing", ["skip", "render"])
def test_missing_cells_may_be_tested(test, expected, missing):
    """A template that asks gets an answer, and decides for itself."""
    assert expected == rendered(f"{{{{ cell is {test} }}}}", missing, cell=None)
