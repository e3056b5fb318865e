"""The sandbox: nothing gets out, nothing blows up, and ordinary templates render as jinja2 renders them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, StrictUndefined
from jinja2.exceptions import SecurityError

from dfllm._core.errors import TemplateError
from dfllm._core.limits import CHARACTERS, Meter
from dfllm._core.sandbox import _ENVIRONMENT, TOKENS, Row, compiled
from dfllm._core.template import Prompt, recipe_of
from dfllm._core.types import Failure

PLAIN = Environment(undefined=StrictUndefined)
# The one filter of ours that is another than jinja2's: prompts are no HTML.
PLAIN.filters["tojson"] = lambda value, indent=None: json.dumps(
    value, sort_keys=True, ensure_ascii=False, indent=indent
)

ESCAPES = [
    "{{ text.__class__.__mro__ }}",
    "{{ ''.__class__.__base__.__subclasses__() }}",
    "{{ text['__class__'] }}",
    "{{ text['__cla' ~ 'ss__'] }}",
    "{{ text|attr('__class__') }}",
    "{{ text|attr('__cla' ~ 'ss__') }}",
    "{{ tags|map(attribute='__class__')|list }}",
    "{{ tags|map(attribute='0.__class__')|list }}",
    "{{ tags|map('attr', '__class__')|list }}",
    "{{ tags|selectattr('__class__')|list }}",
    "{{ tags|groupby('__class__') }}",
    "{{ tags|sort(attribute='__class__.__name__') }}",
    "{{ tags|min(attribute='__class__') }}",
    "{{ tags|sum(attribute='__class__') }}",
    "{{ tags|join(attribute='__class__') }}",
    "{{ tags|unique(attribute='__class__')|list }}",
    "{{ '{0.__class__}'.format(text) }}",
    "{{ '{0.__class__}'['format'](text) }}",
    "{{ '{x.__class__}'.format_map({'x': text}) }}",
    "{{ '{0.__class__}'|format(text) }}",
    "{{ ['{0.__class__}']|map('format', text)|list }}",
    "{% set stored = '{0.__class__}'.format %}{{ stored(text) }}",
    "{{ ('%s' % text).format(text) }}",
    "{{ tags.append('x') }}",
    "{{ facts.update({'a': 1}) }}",
    "{{ facts.pop('a') }}",
    "{% set _ = tags.clear() %}",
    "{{ tags['append']('x') }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ joiner()() }}",
    "{{ namespace(a=1).a }}",
    "{{ dict(a=1) }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.cycler }}",
    "{% for x in tags %}{{ loop._iterable }}{% endfor %}",
    "{% for x in tags %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "{% for x in tags %}{{ loop['_iterable'] }}{% endfor %}",
    "{% for x in tags recursive %}{{ loop(tags) }}{% endfor %}",
    "{{ facts|xmlattr }}",
    "{{ (tags|map('upper')).gi_frame.f_builtins }}",
    "{{ (tags|select).gi_code }}",
    "{% set f = text.upper %}{{ f.__self__ }}",
    "{{ text.upper.__func__ }}",
    "{{ context }}{{ environment.globals }}{{ self }}",
    "{{ range.__init__ }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% from 'os' import system %}",
    "{% macro m() %}{{ caller.__globals__ }}{% endmacro %}{% call m() %}{% endcall %}",
    "{{ tags|map('callable')|list }}",
    "{{ facts.items.__self__ }}",
    "{{ (1).__class__ }}",
    "{{ 1.0.real.__class__ }}",
    "{{ text is filter }}",
    "{{ facts.keys().mapping.__class__ }}",
    "{{ text.encode('utf-8').__class__ }}",
    "{{ text.maketrans('a', 'b') }}",
    "{{ number.as_integer_ratio.__self__ }}",
    "{% autoescape true %}{{ text|safe.__class__ }}{% endautoescape %}",
]


def doubled(expression, times=45):
    """Return a template that makes a value of itself, again and again."""
    return "{% set v = text[:2] %}" + f"{{% set v = {expression} %}}" * times + "{{ v|length }}{{ v == v }}{{ v }}"


def endless(body):
    """Return a template that does something in the longest loop there may be."""
    return "{% for i in range(100000) %}" + body + "{% endfor %}"


BOMBS = [
    "{% for a in range(100000) %}{% for b in range(100000) %}{{ text }}{% endfor %}{% endfor %}",
    "{% for a in letters %}{% for b in letters %}{% if a == b %}{% endif %}{% endfor %}{% endfor %}",
    "{{ range(10**9)|list }}{{ text }}",
    "{% for i in range(10**30) %}{{ text }}{% endfor %}",
    "{{ 'a' * 10**9 ~ text }}",
    "{{ 10 ** (10 ** 9) ~ text }}",
    "{{ (10 ** 4000) ** 4000 ~ text }}",
    "{{ text.center(10**9) }}",
    "{{ text|center(10**9) }}",
    "{{ text.ljust(10**9) }}",
    "{{ text.expandtabs(10**9) }}",
    "{{ '%1000000000d' % 1 ~ text }}",
    "{{ '%*d' % (10**9, 1) ~ text }}",
    "{{ '%1000000000d' is odd }}{{ text }}",
    "{{ ['%1000000000d']|select('divisibleby', 2)|list ~ text }}",
    "{{ '{:1000000000d}'.format(1) ~ text }}",
    "{{ lipsum(n=100000) ~ text }}",
    *map(doubled, ["v ~ v", "v + v", "v * 2", "[v, v]", "(v, v)", "{1: v, 2: v}", "[v, v]|join", "''.join([v, v])"]),
    *map(doubled, ["v|replace('a', 'aa')", "'%s%s' % (v, v)", "[v, v]|map('string')|join", "[v]|list + [v]|list"]),
    "{% set v = text[:2] %}" + "{% set v %}{{ v }}{{ v }}{% endset %}" * 45 + "{{ v }}",
    "{% set v = text[:2] %}" + "{% set v | upper %}{{ v }}{{ v }}{% endset %}" * 45 + "{{ v }}",
    "{% filter upper %}" + "{{ text }}" * 100 + "{% endfilter %}",
    "{{ [[[[text] * 1000] * 1000] * 1000] * 1000 }}",
    "{% set v = [text] * 1000 %}{% set v = [v] * 1000 %}{% set v = [v] * 1000 %}{{ v|tojson }}",
    "{% set v = (1, 1, 1, 1, 1, 1, 1, text[:1]) %}" + "{% set v = (v, v, v, v, v, v, v, v) %}" * 9 + "{{ {v: 1} }}",
    "{{ [10 ** 4299] * 100000 ~ text }}",
    "{{ ([10 ** 4299] * 100000)|join ~ text }}",
    "{{ text|wordwrap(1) }}",
    "{{ letters[:90000]|join|wordwrap(1) }}",
    "{{ text[:1000]|wordwrap(1, wrapstring=text) }}",
    "{{ text|indent(10**9) }}",
    "{{ ('\n' * 8000000 ~ text[:1])|indent }}",
    "{{ letters|batch(10**9, 0)|list }}",
    "{{ letters|slice(10**9)|list }}",
    "{{ ([[letters]] * 2)|tojson(indent=10**8) }}",
    "{{ letters|tojson(indent=16) * 3 }}",
    "{{ text|tojson }}{{ text|tojson }}{{ text|tojson }}",
    "{{ text|replace('', text) }}",
    "{{ text.replace('a', text) }}",
    "{{ letters|join(text) }}",
    "{{ text.join(letters) }}",
    "{{ letters|map('list')|sum(start=[]) }}",
    "{{ text" + "|title" * 9 + " }}",
    "{{ text|wordcount }}" * 30,
    "{{ text|list }}",
    "{{ text.split() }}",
    "{{ text.rfind('b' ~ text[9:]) }}",
    "{{ text.rsplit('b' ~ text[9:]) }}",
    "{{ text|trim(text) }}",
    "{{ text.strip(text) }}",
    "{{ 5|round(-10**9) ~ text }}",
    "{{ 5.5|round(10**9, 'ceil') ~ text }}",
    "{{ ('<!--' * 500000 ~ text[:1])|striptags }}",
    "{{ letters" + "|sort" * 30 + " }}",
    "{{ letters" + "|map('upper')|map('lower')" * 9 + " }}",
    "{{ letters|map('default', letters)|map('list')|map('join', text)|list }}",
    endless("{{ text }}"),
    endless("y" * 999 + "{{ number }}"),
    endless("y" * 99999 + "{{ number }}"),
    endless(("y" * 900 + "{# - #}") * 50 + "{{ number }}"),
    endless("{% if text == text[:-1] %}{% endif %}"),
    endless("{% if 'zz' in text %}{% endif %}"),
    endless("{% if letters == letters[:] %}{% endif %}"),
    endless("{% set v = letters[:] %}"),
    endless("{% set v = [letters] %}"),
    endless("{% set v = letters|sort %}"),
    endless("{{ text.count('') }}"),
    endless("{{ loop.changed(letters) }}"),
    endless("{{ tags[0]|upper }}" * 200),
    endless("{% set v = facts.a.b %}" * 500),
    "{% set v %}" + endless("{{ letters[:300]|join }}") + "{% endset %}",
    "{% for i in letters if letters|sort %}{% endfor %}",
    "{{ {}.get((0, letters[0]) * 40000) }}" * 2000,
    "{{ letters in tags }}" * 2000,
    "{{ letters|string|length }}" * 300,
    "{{ 0x" + "f" * 100000 + " // 3 ~ text }}",
    "{{ text }}{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ text" + "|upper" * 5000 + " }}",
    "{{ text " + "+ text " * 5000 + "}}",
    "{{ text }}" * 3000,
    "{{ text }}" * 30000,
    "{{ [" + "text, " * 30000 + "] }}",
    "{{ text }}" + "y" * (CHARACTERS + 1),
]

#: Renders what it reads from stdin, in a process whose memory is its own, and says how each ended and what it took.
CHILD = r"""
import json, sys, time
from pathlib import Path
from dfllm._core.errors import TemplateError
from dfllm._core.template import Prompt, recipe_of
from dfllm._core.types import Failure

row = {"text": "a b " * 800_000, "letters": ["é%d" % i for i in range(99_999)], "tags": ["a"], "facts": {"a": {}},
       "number": 1}
peak = Path("/proc/self/status")
def peak_bytes():
    if peak.exists():
        return next(int(line.split()[1]) for line in peak.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def tried(source):
    began = time.thread_time()
    try:
        prompt = Prompt(recipe_of(source))
        made = prompt.renderer()([row[column] for column in prompt.columns])
        ended = made.reason if isinstance(made, Failure) else None
    except TemplateError as error:
        ended = str(error)
    return ended, time.thread_time() - began

for line in sys.stdin:
    # The least of three counts: what a neighbour's load adds to a thread's time is no work of the template's.
    for _ in range(3):
        ended, took = tried(json.loads(line))
        if took <= 1:
            break
    print(json.dumps([ended, took, peak_bytes()]), flush=True)
"""


@pytest.fixture(scope="module")
def endings():
    """Return how each bomb ended, with seconds and peak memory."""
    ended = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="".join(json.dumps(bomb) + "\n" for bomb in BOMBS),
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    return dict(zip(BOMBS, map(json.loads, ended.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("source", ESCAPES)
def test_nothing_gets_out(source):
    """Whatever reaches for more than the row's data is refused, at once or when the row is rendered."""
    row = {"text": "text", "tags": ["a", "b"], "facts": {"a": 1}, "number": 1.5}
    try:
        prompt = Prompt(recipe_of(source))
    except TemplateError:
        return

    made = prompt.renderer()([row.get(column) for column in prompt.columns])

    assert isinstance(made, Failure)
    assert made.type in ("TemplateError", "Skipped")
    assert row == {"text": "text", "tags": ["a", "b"], "facts": {"a": 1}, "number": 1.5}


@pytest.mark.parametrize("source", BOMBS, ids=lambda source: source[:60])
def test_nothing_blows_up(endings, source):
    """A template that would take all time or memory is refused within a second and 256 MiB."""
    reason, seconds, peak_bytes = endings[source]

    assert reason
    assert "MemoryError" not in reason
    assert seconds <= 1
    assert peak_bytes <= 256 * 2**20


ROW = {
    "name": "Ann <ann@example.com>",
    "review": "It's «good» & cheap.\nI'd buy it again, 100%.",
    "stars": 4,
    "price": 19.9,
    "verified": True,
    "tags": ["new", "sale", "Über"],
    "meta": {"author": {"name": "Bob", "age": 7}, "items": ["x"], "n": None},
    "orders": [{"id": 1, "total": 9.5, "lines": ["a", "b"]}, {"id": 2, "total": 0, "lines": []}],
    "code": "{{ name }} {% if x %} {# y #}",
}
ORDINARY = [
    "Plain text, 100% { } {{ '{{' }}",
    "{{ name }}",
    "Classify the review:\n\n{{ review }}\n",
    "{{ name }} gave {{ stars }}/5, {{ price }}, {{ verified }}, {{ none }}",
    "{{ code }}",
    "{{ tags }} {{ meta }} {{ orders }}",
    "{% if stars > 3 %}good{% elif stars == 3 %}fair{% else %}bad{% endif %}",
    "{% if verified and tags and 'new' in tags and stars in (3, 4) %}yes{% endif %}",
    "{% for tag in tags %}{{ loop.index }}. {{ tag|lower }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{%- for tag in tags -%}\n  - {{ tag }}\n{%- endfor %}",
    "{% for order in orders %}#{{ order.id }}:{% for line in order.lines %} {{ line }}{% endfor %};{% endfor %}",
    "{% for order in orders if order.total %}{{ order['id'] }}{% else %}none{% endfor %}",
    "{% for x in [] %}{{ x }}{% else %}nothing{% endfor %}",
    "{% for key, value in meta.author.items() %}{{ key }}={{ value }} {% endfor %}",
    "{% for i in range(3) %}{{ i }}{{ loop.first }}{{ loop.revindex }}{{ loop.length }}{{ loop.depth }}{% endfor %}",
    "{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}",
    "{% for x in tags %}{{ loop.previtem|default('-') }}<{{ x }}>{{ loop.nextitem|default('-') }}{% endfor %}",
    "{% for x in tags %}{% set y = x|upper %}{{ y }}{% endfor %}",
    "{% set total = orders|sum(attribute='total') %}Total {{ '%.2f' % total }}",
    "{% set greeting %}Hi {{ name }}!{% endset %}{{ greeting }} {{ greeting|length }}",
    "{% set a, b = 1, 2 %}{{ a + b }}",
    "{% if stars > 3 %}{% set tone = 'warm' %}{% else %}{% set tone = 'cool' %}{% endif %}{{ tone }}",
    "{% with n = name|upper %}{{ n }}{% endwith %}",
    "{% filter upper %}a{{ name }}{% endfilter %}",
    "{{ 'x' if stars > 4 else 'y' }}{{ 'x' if stars > 9 }}",
    "{{ review[:10] }} {{ review[-3:] }} {{ tags[0] }} {{ tags[-1] }} {{ meta['author']['name'] }} {{ tags[1:] }}",
    "{{ review|replace('good', 'bad')|truncate(20) }} {{ name|title }} {{ review|wordcount }}",
    "{{ tags|join(', ') }} {{ tags|sort|first }} {{ orders|map(attribute='id')|list }}",
    "{{ meta|tojson }} {{ orders|tojson(indent=2) }}",
    "{{ stars + 1 }} {{ stars * 2.5 }} {{ price // 1 }} {{ -stars }} {{ stars ** 2 }} {{ 7 % 3 }} {{ 'a' ~ 1 ~ none }}",
    "{{ 1 < stars < 5 }} {{ stars != 4 }} {{ not verified }} {{ stars is even }} {{ name is string }}",
    "{{ name.split(' ')[0].upper() }} {{ ', '.join(tags) }} {{ meta.get('x', 'y') }} {{ review.splitlines()[1] }}",
    "{{ [1, name, {'a': stars}] }} {{ (1,) }} {{ {} }} {{ 'a' in 'abc' }} {{ 'z' not in tags }}",
    "{% raw %}{{ name }}{% endraw %}{# hidden #}",
    "a{# one #}{# two #}b{% print name, stars %}",
    "trailing newline\n",
    "two\n\n",
    "windows\r\n{{ name }}\r\nend",
]


@pytest.mark.parametrize("source", ORDINARY)
def test_ordinary_templates_are_jinjas(source):
    """What is not refused renders exactly as in plain jinja2."""
    prompt = Prompt(recipe_of(source))

    made = prompt.renderer()([ROW[column] for column in prompt.columns])

    assert PLAIN.from_string(source).render(**ROW) == made[0].content


cells = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["", "{{ a }}", "%s", "0"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "items"]), inner, max_size=3)
    ),
    max_leaves=8,
)
ANY_ROW = [
    "{{ a }}{{ b }}",
    "{% for x in a %}{{ x }},{{ loop.index }}{% endfor %}",
    "{% if a == b %}same{% elif a %}a{% endif %}{{ a in b }}",
    "{{ a|upper }}{{ b|string|replace('a', 'bb')|trim|title }}",
    "{{ a.a }}{{ b['b'] }}{{ a[0] }}",
    "{{ a|length }}{{ b|list|length }}",
    "{{ a|join(b) }}",
    "{{ a + b }}",
    "{{ a * 3 }}{{ a|int }}{{ b|float }}",
    "{{ a < b }}",
    "{{ a|tojson }}{{ b|default('x', true) }}",
    "{{ [a, b]|map('string')|map('length')|list }}{{ a ~ b }}{{ a is string }}{{ b is mapping }}",
    "{% set c = a %}{% for x in [c, b] %}{{ x }}{% if loop.last %}!{% endif %}{% endfor %}{{ c }}",
    "{{ a|sort|first }}{{ a[:2] }}",
    "{{ '%s' % a }}",
]


@pytest.mark.parametrize("source", ANY_ROW)
@given(a=cells, b=cells)
def test_any_row_renders_as_jinja_does(source, a, b):
    """Over all kinds of cells: the same text, or no text from both."""
    try:
        expected = PLAIN.from_string(source).render(a=a, b=b)
    except Exception:  # noqa: BLE001 - jinja2 lets through whatever Python raises
        expected = None
    prompt = Prompt(recipe_of(source))

    made = prompt.renderer()([{"a": a, "b": b}[column] for column in prompt.columns])

    assert expected == (None if isinstance(made, Failure) else made[0].content)


@given(st.text())
def test_cells_are_never_templates(text):
    """Whatever is in a cell comes out as it is."""
    made = Prompt(recipe_of("{{ x }}")).renderer()([text])

    assert text == made[0].content


def test_shadowed_methods_are_items():
    """A key that has the name of a method is found all the same, unlike in jinja2."""
    prompt = Prompt(recipe_of("{{ meta.items }}{{ meta['keys'] }}{{ meta.values()|length }}"))

    expected = "122"

    assert expected == prompt.renderer()([{"items": 1, "keys": 2}])[0].content


@pytest.mark.parametrize(
    "source",
    [
        *("{{ x.columns }}", "{{ x['columns'] }}", "{{ x }}", "{{ x|string }}", "{{ x ~ '' }}", "{{ [x] }}"),
        *("{{ x|join }}", "{{ x.split() }}", "{% for y in x %}{% endfor %}", "{{ x|tojson }}", "{{ x|first }}"),
    ],
)
def test_foreign_objects_do_nothing(source):
    """If an object slipped past `plain`, a template still could not use it."""

    class Frame:
        columns = ("a",)

        def split(self):
            return ["split"]

    made = Prompt(recipe_of(source)).renderer()([Frame()])

    assert made.type == "TemplateError"


def test_environment_has_nothing_to_reach():
    """The second line of defence: no globals, no loader, no attribute or call that jinja2 would let through."""
    row = Row({}, Meter())

    assert not _ENVIRONMENT.globals
    assert _ENVIRONMENT.loader is None
    assert _ENVIRONMENT.autoescape is False
    assert not _ENVIRONMENT.is_safe_attribute("", "upper", "".upper)
    with pytest.raises(SecurityError):
        _ENVIRONMENT.call(row, str)


def test_tokens_are_counted():
    """The limit itself is within the limit; text is no token."""
    most = "{{ [" + "1," * ((TOKENS - 5) // 2) + "] }}"
    text = "word " * TOKENS

    assert compiled(most)
    assert compiled(text)
    with pytest.raises(TemplateError, match=r"over 10,000 words and signs between braces$"):
        compiled(most + "{{ 1 }}" * 3)


def test_long_output_is_exact():
    """Eight MiB are rendered, in one piece or in many; one character more is not."""
    one = Prompt(recipe_of("{{ x }}")).renderer()
    many = Prompt(recipe_of("{% for y in x %}{{ y }}-{% endfor %}")).renderer()
    line = ["a" * 127] * (CHARACTERS // 128)

    assert one(["a" * CHARACTERS])[0].content == "a" * CHARACTERS
    assert len(many([line])[0].content) == CHARACTERS
    assert Failure("TemplateError", "over 8 MiB") == one(["a" * (CHARACTERS + 1)])
    assert Failure("TemplateError", "over 8 MiB") == many([[*line, ""]])
