"""The rewriting: which names are columns, what is refused and where, and what a template still may do."""

from __future__ import annotations

import pytest

from dfllm._core.errors import TemplateError
from dfllm._core.sandbox import compiled


def columns(source):
    """Return the labels a template reads."""
    return set(compiled(source).columns.values())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("just text", set()),
        ("{{ a }} {{ b.c }} {{ d['e'] }} {{ f[g] }}", {"a", "b", "d", "f", "g"}),
        ("{{ class }} {{ café }}", {"class", "café"}),
        ("{{ a|default(b) }} {{ c is eq(d) }} {{ e if f else g }} {{ h.get(i, default=j) }}", set("abcdefghij")),
        ("{{ [a, (b, {c: d})] }} {{ e[f:g:h] }}", set("abcdefgh")),
        ("{{ a ~ b + c * d ** -e }} {{ f < g < h }} {{ not i and j or k in l }}", set("abcdefghijkl")),
        ("{% for a in b if a != c %}{{ a }}{{ d }}{{ loop.index }}{% else %}{{ e }}{% endfor %}", {"b", "c", "d", "e"}),
        ("{% for a, (b, c) in d %}{{ a }}{{ b }}{{ c }}{% endfor %}{{ a }}", {"d", "a"}),
        ("{% for a in a %}{{ a }}{% endfor %}", {"a"}),
        ("{% for _ in a %}{{ _ }}{% endfor %}", {"a"}),
        ("{% for row in rows %}{{ row['x'] }}{{ row }}{% endfor %}", {"rows"}),
        (
            "{% for x in a %}{% for y in x if loop.first %}{{ loop.last }}{% endfor %}{% endfor %}{{ loop }}",
            {"a", "loop"},
        ),
        ("{% set a = b %}{{ a }}", {"b"}),
        ("{% set a = a|trim %}{{ a }}", {"a"}),
        ("{% set a, b = c %}{{ a }}{{ b }}", {"c"}),
        ("{{ a }}{% set a = 1 %}", {"a"}),
        ("{% set a %}{{ b }}{% set c = 1 %}{% endset %}{{ a }}{{ c }}", {"b", "c"}),
        ("{% set a | replace('b', 'c') %}{{ d }}{% endset %}{{ a }}", {"d"}),
        ("{% if a %}{% set b = 1 %}{% else %}{% set b = 2 %}{% endif %}{{ b }}", {"a"}),
        ("{% if a %}{% set b = 1 %}{% endif %}{{ b|default }}", {"a"}),
        ("{% if a %}{% set b = 1 %}{% elif b %}{% set c = 2 %}{% else %}{{ c }}{% endif %}{{ c }}", {"a", "b", "c"}),
        ("{% if not a %}{% set a = 1 %}{% endif %}{{ a }}", {"a"}),
        ("{% for x in a %}{% set b = x %}{% endfor %}{{ b }}", {"a", "b"}),
        ("{% with a = b, c = a %}{{ a }}{{ c }}{{ d }}{% endwith %}{{ c }}", {"a", "b", "c", "d"}),
        ("{% filter replace(a, b) %}{{ c }}{% endfilter %}", {"a", "b", "c"}),
        ("{{ range(a) }} {{ range }}", {"a", "range"}),
        (
            "{{ row['a b'] }} {{ row[3] }} {{ row[-1] }} {{ row['a', 1] }} {{ row['_x'] }}",
            {"a b", 3, -1, ("a", 1), "_x"},
        ),
        ("{{ row['a'] }}{{ a }}", {"a"}),
        ("{{ row['self'] }}{{ row['row'] }}{{ row['ﬁ'] }}", {"self", "row", "ﬁ"}),
        ("{% raw %}{{ a }}{% endraw %}{# {{ b }} #}", set()),
    ],
)
def test_columns_are_the_names_not_bound(source, expected):
    """What the template neither sets nor loops over is a column."""
    assert expected == columns(source)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ x", "line 1: unexpected end of template, expected 'end of print statement'."),
        ("a\nb\n{% if %}", "line 3: Expected an expression, got 'end of statement block'"),
        ("\n{{ x|uper }}", "line 2: no filter 'uper' can be used. Did you mean 'upper'?"),
        ("{{ x is evn }}", "line 1: no test 'evn' can be used. Did you mean 'even'?"),
        ("{{ x.uper() }}", "line 1: no method 'uper' can be called. Did you mean 'upper'?"),
        ("{{ x|map('uper') }}", "line 1: no filter 'uper' can be used. Did you mean 'upper'?"),
        ("{{ x|select('evn') }}", "line 1: no test 'evn' can be used. Did you mean 'even'?"),
        ("{{ x|rejectattr('a', 'evn') }}", "line 1: no test 'evn' can be used. Did you mean 'even'?"),
        ("{% for a in b %}{{ loop.idx }}{% endfor %}", "line 1: loop has no 'idx'. Did you mean 'index'?"),
        (
            "{% for a in b %}{{ loop }}{% endfor %}",
            "line 1: loop can only be asked for its attributes, such as loop.index",
        ),
        ("{% set loop = 1 %}", "line 1: 'loop' cannot be set"),
        ("{% set self = 1 %}", "line 1: 'self' cannot be set"),
        ("{% set a.b = 1 %}", "line 1: attributes cannot be set"),
        (
            "{% set a | replace(b, c) %}{% endset %}",
            "line 1: the filter of a set block cannot read names; apply it to the text afterwards",
        ),
        ("{{ row }}", 'line 1: row is not a value; write row["label"] with the label as a constant'),
        ("{{ row.a }}", 'line 1: row is not a value; write row["label"] with the label as a constant'),
        ("{{ row[x] }}", 'line 1: write row["label"] with the label as a constant'),
        ("{{ row[1:2] }}", 'line 1: write row["label"] with the label as a constant'),
        ("{{ row[none] }}", 'line 1: write row["label"] with the label as a constant'),
        ("{{ row[[1]] }}", 'line 1: write row["label"] with the label as a constant'),
        (
            "{% for a in row %}{% endfor %}",
            'line 1: row is not a value; write row["label"] with the label as a constant',
        ),
        ("{{ _x }}", 'line 1: a column of that name is written row["_x"]'),
        ("{{ self }}", 'line 1: a column of that name is written row["self"]'),
        ("{{ ﬁ }}", 'line 1: a column of that name is written row["ﬁ"]'),
        ("{{ x._y }}", "line 1: '_y' is private; an item of that name is written [\"_y\"]"),
        ("{{ f() }}", "line 1: 'f' cannot be called; templates call range() and methods, and apply filters"),
        ("{{ x[0]() }}", "line 1: that cannot be called; templates call range() and methods, and apply filters"),
        ("{{ range() }}", "line 1: 'range' cannot be called; templates call range() and methods, and apply filters"),
        ("{{ x.split(*y) }}", "line 1: arguments with * or ** cannot be used in a prompt"),
        ("{{ x|join(**y) }}", "line 1: arguments with * or ** cannot be used in a prompt"),
        ("{{ 0x" + "f" * 4000 + " }}", "line 1: a number of over 4300 digits"),
        ("{% include 'x' %}", "line 1: {% include %} cannot be used in a prompt"),
        ("{% import 'x' as x %}", "line 1: {% import %} cannot be used in a prompt"),
        ("{% from 'x' import x %}", "line 1: {% from %} cannot be used in a prompt"),
        ("{% extends 'x' %}", "line 1: {% extends %} cannot be used in a prompt"),
        ("{% block x %}{% endblock %}", "line 1: {% block %} cannot be used in a prompt"),
        ("{% macro x() %}{% endmacro %}", "line 1: {% macro %} cannot be used in a prompt"),
        ("{% call x() %}{% endcall %}", "line 1: {% call %} cannot be used in a prompt"),
        ("{% autoescape true %}{% endautoescape %}", "line 1: {% autoescape %} cannot be used in a prompt"),
        ("{% for a in b recursive %}{% endfor %}", "line 1: recursive loops cannot be used in a prompt"),
        ("{% if x %}" * 120 + "{% endif %}" * 120, "line 1: nested too deeply"),
        ("{{ " + "(" * 5000 + "x" + ")" * 5000 + " }}", "line 1: nested too deeply"),
    ],
)
def test_refusal_says_where_and_why(source, reason):
    """What cannot be in a prompt is refused when it is compiled, with its line and what may have been meant."""
    with pytest.raises(TemplateError) as caught:
        compiled(source)

    assert reason == str(caught.value)
