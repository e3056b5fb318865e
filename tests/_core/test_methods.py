"""Methods and operators: Python's own where they are ordinary, refused where they would be too much."""

from __future__ import annotations

import pytest
from jinja2 import Environment, StrictUndefined

from dfllm._core.errors import TemplateError
from dfllm._core.filters import FILTERS
from dfllm._core.methods import INNER, METHODS
from dfllm._core.template import Prompt, recipe_of
from dfllm._core.types import Failure

PLAIN = Environment(undefined=StrictUndefined)
ROW = {
    "text": "  Straße, a quick brown Fox\n a b ",
    "word": "abcabc",
    "facts": {"b": 2, "a": 1},
    "tags": ["b", "a", "b"],
    "number": 2.0,
}
WITHOUT_ARGUMENTS = (
    "capitalize", "casefold", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "islower", "isnumeric",
    "isspace", "istitle", "isupper", "lower", "splitlines", "swapcase", "title", "upper",
)  # fmt: skip
ORDINARY = {
    **{name: f"{{{{ text.{name}() }}}}{{{{ word.{name}() }}}}" for name in WITHOUT_ARGUMENTS},
    "changed": "{% for tag in tags %}{{ loop.changed(tag) }}{% endfor %}",
    "count": "{{ word.count('b') }}{{ tags.count('b') }}{{ (1, 2).count(1) }}",
    "cycle": "{% for tag in tags %}{{ loop.cycle('odd', 'even') }}{% endfor %}",
    "endswith": "{{ word.endswith('c') }}{{ word.endswith(('a', 'b')) }}",
    "find": "{{ word.find('c') }}{{ word.find('c', 3) }}",
    "get": "{{ facts.get('a') }}{{ facts.get('x') }}{{ facts.get('x', 7) }}",
    "index": "{{ word.index('c') }}{{ tags.index('a') }}",
    "is_integer": "{{ number.is_integer() }}",
    "items": "{% for key, value in facts.items() %}{{ key }}{{ value }}{% endfor %}{{ facts.items() }}",
    "join": "{{ ', '.join(tags) }}{{ word.join('xyz') }}",
    "keys": "{{ facts.keys()|list }}{{ facts.keys() }}",
    "lstrip": "{{ text.lstrip() }}{{ word.lstrip('ab') }}",
    "partition": "{{ word.partition('b') }}",
    "removeprefix": "{{ word.removeprefix('ab') }}",
    "removesuffix": "{{ word.removesuffix('bc') }}",
    "replace": "{{ word.replace('b', '--') }}{{ word.replace('', '.', 2) }}",
    "rfind": "{{ word.rfind('b') }}{{ word.rfind('b', 0, 3) }}",
    "rindex": "{{ word.rindex('b') }}",
    "rpartition": "{{ word.rpartition('b') }}",
    "rsplit": "{{ word.rsplit('b', 1) }}{{ text.rsplit(none, 1) }}",
    "rstrip": "{{ text.rstrip() }}",
    "split": "{{ text.split() }}{{ word.split('b') }}{{ text.split(' ', maxsplit=3) }}",
    "startswith": "{{ word.startswith('a') }}",
    "strip": "{{ text.strip() }}{{ word.strip('c') }}",
    "values": "{{ facts.values()|sum }}{{ facts.values() }}",
}


def rendered(source, missing="skip", **row):
    """Return the text of one row, or its failure."""
    prompt = Prompt(recipe_of(source, missing=missing))
    made = prompt.renderer()([row.get(column) for column in prompt.columns])
    return made if isinstance(made, Failure) else made[0].content


@pytest.mark.parametrize("name", METHODS)
def test_method_is_pythons(name):
    """A method gives what it gives in jinja2; a new one fails here until it has an entry in ORDINARY."""
    source = ORDINARY[name]

    assert PLAIN.from_string(source).render(**ROW) == rendered(source, **ROW)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "format",
            "format_map",
            "center",
            "ljust",
            "rjust",
            "zfill",
            "expandtabs",
            "encode",
            "translate",
            "maketrans",
        ),
        *("append", "extend", "insert", "pop", "clear", "remove", "reverse", "sort", "update", "setdefault", "popitem"),
        *("copy", "fromkeys", "to_csv", "mro"),
    ],
)
def test_other_methods_do_not_exist(name):
    """What formats, blows up or changes a value cannot be called on anything."""
    with pytest.raises(TemplateError, match=f"line 1: no method '{name}' can be called"):
        Prompt(recipe_of(f"{{{{ cell.{name}() }}}}"))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ tags.upper() }}", "'list' object has no method 'upper'"),
        ("{{ number.split() }}", "'float' object has no method 'split'"),
        ("{{ facts.upper() }}", "'dict' object has no method 'upper'"),
        ("{{ text.cycle() }}", "'str' object has no method 'cycle'"),
        ("{{ facts.x.upper() }}", "'dict object' has no attribute 'x'"),
        ("{{ text.upper(1) }}", "str.upper() takes no arguments (1 given)"),
    ],
)
def test_method_of_another_type_fails_the_row(source, reason):
    """A method is looked up by the type of the value, never on the value."""
    assert Failure("TemplateError", reason) == rendered(source, **ROW)


@pytest.mark.parametrize(
    "source",
    [
        *("{{ cell.upper() }}", "{{ word.replace(cell, 'x') }}", "{{ word ~ cell }}", "{{ word + cell }}"),
        *("{{ 2 * cell }}", "{{ '%d' % cell }}", "{{ '%s %s' % (word, cell) }}", "{{ cell ** 2 }}", "{{ [1][cell] }}"),
        *("{{ cell[:2] }}", "{{ cell.a }}", "{{ cell['a'] }}", "{{ facts[cell] }}", "{{ range(cell) }}", "{{ cell }}"),
        *("{% for x in cell %}{% endfor %}", "{{ [word, cell] }}", "{{ cell in word }}", "{{ word in cell }}"),
        *("{{ cell < 2 }}", "{{ -cell }}", "{% set x %}{{ cell }}{% endset %}", "{% set x = cell %}{{ x }}"),
    ],
)
def test_using_a_missing_cell_skips(source):
    """Whatever is done with a missing cell but testing it, the row ends as skipped."""
    assert Failure("Skipped", "column 'cell' is missing") == rendered(source, cell=None, **ROW)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ cell.upper() }}", ""),
        ("{{ cell ~ word }}", "abcabc"),
        ("{{ cell + word }}", "abcabc"),
        ("{{ cell[:2] }}", ""),
        ("{{ cell.a.b['c'] }}", ""),
        ("{{ word in cell }}", "False"),
        ("{% for x in cell %}x{% else %}none{% endfor %}", "none"),
        ("{{ [cell, word]|join('-') }}", "-abcabc"),
    ],
)
def test_blank_cell_is_empty_text(source, expected):
    """Where missing cells are rendered, they are empty texts, all the way down."""
    assert expected == rendered(source, "render", cell=None, **ROW)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 7 + 2 }} {{ 7 - 2 }} {{ 7 * 2 }} {{ 7 / 2 }} {{ 7 // 2 }} {{ 7 % 2 }} {{ 7 ** 2 }} {{ 2 ** -1 }} {{ -7 }}",
        "{{ word + text }} {{ word * 3 }} {{ 2 * word }} {{ word * -1 }}",
        "{{ tags + [1] }} {{ tags * 2 }} {{ (1,) + (2,) }}",
        "{{ '%s has %d and %.2f%%' % (word, 3, number) }} {{ '%5.1f|%-5d|%05d|%+d|%x' % (1.25, 2, 3, 4, 255) }}",
        "{{ '%(b)s-%(a)03d' % facts }} {{ '%s' % word }} {{ '%s' % tags|length }} {{ 9.5 % 4 }}",
        "{{ word ~ 1 ~ none ~ tags }} {{ 'a' ~ 'b' }}",
        "{{ 10 ** 4000 }}",
        "{{ true + 1 }} {{ number ** 0.5 }}",
    ],
)
def test_operators_are_pythons(source):
    """Arithmetic, and putting texts and lists together."""
    assert PLAIN.from_string(source).render(**ROW) == rendered(source, **ROW)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ word * 10**9 }}", "over 8 MiB"),
        ("{{ 10**9 * word }}", "over 8 MiB"),
        ("{{ tags * 10**9 }}", "over 100,000 items"),
        ("{{ ((tags * 30000) * 2 + tags * 30000) }}", "over 100,000 items"),
        ("{{ ([tags * 1000] * 1000) }}", "over 8 MiB"),
        ("{{ word * 700000 + word * 700000 }}", "over 8 MiB"),
        ("{{ word * 700000 ~ word * 700000 }}", "over 8 MiB"),
        ("{{ number|int ** (10**9) }}", "over 4300 digits"),
        ("{{ (10**4000) * (number|int * 10**4000) }}", "over 4300 digits"),
        ("{{ number ** (10**9) }}", "number too large"),
        ("{{ '%1000d' % number }}", "a format takes %s %d %i %x %o %e %f %g, at most 999 wide"),
        ("{{ '%*d' % (9, number) }}", "a format takes %s %d %i %x %o %e %f %g, at most 999 wide"),
        ("{{ '%r' % word }}", "a format takes %s %d %i %x %o %e %f %g, at most 999 wide"),
        ("{{ '%s%s%s' % (word * 700000, word, word) }}", "over 8 MiB"),
        ("{{ ('%999d' * 9000) % word }}", "over 8 MiB"),
        ("{{ word.replace('', word * 1000000) }}", "over 8 MiB"),
        ("{{ (word * 300000).join(tags * 9) }}", "over 8 MiB"),
        ("{{ (word * 100000).split('b') }}", "over 100,000 items"),
        ("{{ ('x\\n' * 100000 ~ word).splitlines() }}", "over 100,000 items"),
        ("{{ (word * 100000).rfind(word * 90000) }}", "over 1 s"),
        ("{{ word.strip(word * 20) }}", "over 100 characters to strip"),
        ("{{ range(10**30) }}{{ word }}", "over 100,000 steps"),
        ("{{ range(0, -100001, -1) }}{{ word }}", "over 100,000 steps"),
        ("{{ word / 0 }}", "unsupported operand type(s) for /: 'str' and 'int'"),
        ("{{ number / 0 }}", "float division by zero"),
    ],
)
def test_too_much_is_refused(source, reason):
    """An operation that could blow up says so before it does."""
    assert Failure("TemplateError", reason) == rendered(source, **ROW)


def test_longest_range_is_fine():
    """The limit itself is within the limit."""
    assert rendered("{{ range(100000)|length }} {{ range(3, 300003, 3)|length }}") == "100000 100000"


def test_inner_names_cannot_be_written():
    """No template can name what the compiler puts in."""
    assert not FILTERS.keys() & INNER.keys()
    for name in INNER:
        with pytest.raises(TemplateError):
            Prompt(recipe_of(f"{{{{ cell|{name} }}}}"))
