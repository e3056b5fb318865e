"""Secrets show themselves to nobody, and texts are cleaned of them."""

import base64
import copy
import dataclasses
import json
import pickle
import traceback
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._run.secret import Secret, Veiled, scrub

KEY = "sk-proj-Ab/9+xyz==QQ-77"
KEYS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=8, max_size=60)


def test_reveal_is_the_way_to_it():
    """Whoever asks by name gets the secret."""
    assert Secret(KEY).reveal() == KEY


@pytest.mark.parametrize(
    "show",
    [repr, str, "{}".format, "{!r:>9}".format, "%s".__mod__, lambda secret: f"{secret}", lambda secret: f"{[secret]}"],
)
def test_no_way_of_printing_shows_it(show):
    """Representations, formats and containers show stars."""
    shown = show(Secret(KEY))

    assert "***" in shown
    assert KEY not in shown


def test_no_attribute_or_dataclass_leads_to_it():
    """There is no dictionary to look into, and a dataclass around it unfolds to stars."""

    @dataclasses.dataclass
    class Holder:
        secret: Secret

    assert not hasattr(Secret(KEY), "__dict__")
    assert KEY not in repr(dataclasses.asdict(Holder(Secret(KEY))))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_refuses_it(protocol):
    """No protocol of pickle takes it."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret(KEY), protocol)


def test_its_state_cannot_be_asked_for():
    """`__getstate__`, which every object has from Python 3.11 on, gives nothing away."""
    with pytest.raises(TypeError, match="no state"):
        Secret(KEY).__getstate__()


def test_json_refuses_it():
    """A settings dump stops instead of writing it."""
    with pytest.raises(TypeError):
        json.dumps({"key": Secret(KEY)})


def test_copies_are_the_secret_itself():
    """A copy makes no second object that might print otherwise."""
    secret = Secret(KEY)

    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


def test_it_cannot_be_changed():
    """Attributes are neither set nor deleted."""
    secret = Secret(KEY)

    with pytest.raises(AttributeError):
        secret.text = "other"
    with pytest.raises(AttributeError):
        del secret._Secret__text


@given(KEYS, KEYS)
def test_equal_texts_are_equal_secrets(one, other):
    """Equality and hash go by the text, whatever letters it has."""
    assert (one == other) == (Secret(one) == Secret(other))
    assert hash(Secret(one)) == hash(Secret(one))


def test_a_secret_is_no_text():
    """Comparing it with text says no, so nobody compares by accident."""
    assert Secret(KEY) != KEY


def test_the_hash_tells_nothing_about_it():
    """The hash is not the text's own, which anybody could compute."""
    assert hash(Secret(KEY)) != hash(KEY)


def test_an_empty_secret_is_false():
    """`if secret` asks whether there is one."""
    assert [False, True] == [bool(Secret("")), bool(Secret("x"))]


def test_tracebacks_with_locals_do_not_show_it():
    """The traceback of a frame that holds it shows stars."""

    def fails(secret):
        raise ValueError

    with pytest.raises(ValueError) as caught:  # noqa: PT011  # its message is not the point
        fails(Secret(KEY))

    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "secret = ***" in shown


def test_veiled_text_is_text_that_shows_stars():
    """A veiled value is worth its text and displayed as stars, in a container as well."""
    value = Veiled(KEY)

    assert value == KEY
    assert KEY == str(value)
    assert "['***']" == repr([value])


def _embedded(before):
    return lambda key: base64.b64encode(before + key.encode()).decode()


@pytest.mark.parametrize(
    "form",
    [
        str,
        quote,
        lambda key: quote(key, safe=""),
        lambda key: quote(key, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d"),
        lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
        lambda key: base64.urlsafe_b64encode(key.encode()).decode(),
        _embedded(b""),
        _embedded(b"u:"),
        _embedded(b"me:"),
    ],
)
@pytest.mark.parametrize("key", [KEY, "plain=word/+?", 'quo"te\\é<&>'])
def test_scrub_removes_a_known_secret_in_every_form(form, key):
    """Raw, quoted for URLs, in base64 at any offset, and escaped for JSON: all are found."""
    written = form(key)

    scrubbed = scrub(f"before {written} after", [Secret(key)])

    assert scrubbed.startswith("before ")
    assert scrubbed.endswith(" after")
    # What stays of base64 are the letters that the secret shares with its neighbours.
    assert len(scrubbed) - len("before  after") <= len("***") + 8
    assert key not in scrubbed


@given(KEYS)
def test_no_known_secret_survives(key):
    """Whatever the secret is, the text does not hold it afterwards."""
    if "*" in key:
        key = key.replace("*", "-")

    scrubbed = scrub(f"<{key}> and {json.dumps(key)} and {quote(key)}", [Secret(key)])

    assert key not in scrubbed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Incorrect API key provided: sk-ab****wxyz.", "Incorrect API key provided: ***"),
        ("Incorrect API key provided: abcd****wxyz", "Incorrect API key provided: ***"),
        ("used sk-ant-api03-AAAABBBBCCCC here", "used *** here"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic ***"),
        ("{'x-api-key': 'abcdefgh'}", "{'x-api-key': '***'}"),
        ('{"api_key": "abcdefgh", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("https://h/v1?alt=sse&key=AIzaShort&x=1", "https://h/v1?alt=sse&key=***&x=1"),
        ("https://h/v1?api-key=abc", "https://h/v1?api-key=***"),
        ("https://user:pass@host/v1", "https://***@host/v1"),
        ("AIzaSyA1234567890abcdefghijk", "***"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),
        ("token eyJhbGciOi.eyJzdWIiOiI.c2ln ends", "token *** ends"),
    ],
)
def test_scrub_removes_what_looks_like_a_secret(text, expected):
    """Known shapes go even where the secret is not known, masked ones included."""
    assert expected == scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        "the task-force asked for keys",
        "model gpt-5-mini has no key",
        "Rate limit reached for requests per min (RPM): Limit 3, Used 3",
        "monkey=7 and turkey = 8",
        "risk-averse-decision-making",
    ],
)
def test_scrub_leaves_ordinary_text_alone(text):
    """Words that merely resemble stay, and so does the text around a very short secret."""
    assert text == scrub(text, [Secret(""), Secret("x")])
