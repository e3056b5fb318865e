"""Where questions may go, and where the key sits."""

import copy
import pickle

import pytest
from yarl import URL

from dfllm._core.errors import OptionError
from dfllm._run.http_route import is_allowed, route
from dfllm._run.secret import Secret

KEY = "sk-canary-1234567890"


def test_a_key_without_a_place_is_a_bearer():
    """Most providers want it so."""
    made = route("https://api.example.com/v1/chat/completions", {}, Secret(KEY))

    assert f"Bearer {KEY}" == made.headers["authorization"]


def test_a_header_may_say_where_the_key_goes():
    """A provider with a header of its own gets that one only."""
    made = route("https://api.example.com/v1/messages", {"x-api-key": "{key}", "version": "1"}, Secret(KEY))

    assert (KEY, "1") == (made.headers["x-api-key"], made.headers["version"])
    assert "authorization" not in made.headers


def test_without_a_key_nothing_authorizes():
    """A local server that wants no key is sent none."""
    assert "authorization" not in route("http://localhost:8000/v1", {}, None).headers
    assert "x-api-key" not in route("http://localhost:8000/v1", {"x-api-key": "{key}"}, None).headers


def test_given_headers_replace_the_usual():
    """The caller's word counts, in whatever case the name is written."""
    made = route("https://api.example.com", {"user-agent": "mine"}, None)

    assert ["mine"] == made.headers.getall("User-Agent")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v1",
        "https://10.0.0.7:8443/v1",
        "http://localhost:11434/v1",
        "http://LOCALHOST/v1",
        "http://127.0.0.1:8000/v1",
        "http://127.8.9.1/v1",
        "http://[::1]:8000/v1",
        "http://0.0.0.0:11434/v1",
    ],
)
def test_https_and_this_machine_are_allowed(url):
    """The key travels encrypted, or not at all."""
    assert url.lower() == str(route(url, {}, Secret(KEY)).url)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v1",
        "http://10.0.0.7:8000/v1",
        "http://192.168.1.2/v1",
        "http://localhost.example.com/v1",
        "http://127.0.0.1.example.com/v1",
        "http://2130706433/v1",
        "http://[fe80::1]/v1",
    ],
)
def test_plain_http_to_another_machine_is_refused(url):
    """The message says why and what to do, before anything is sent."""
    with pytest.raises(OptionError, match=r"in clear.*Use https, or a tunnel"):
        route(url, {}, Secret(KEY))
    assert not is_allowed(URL(url))


@pytest.mark.parametrize(
    "url", ["", "api.example.com/v1", "ftp://host/x", "file:///etc/passwd", "https:///v1", "http://"]
)
def test_what_is_no_web_address_is_refused(url):
    """A half URL is caught when the run starts."""
    with pytest.raises(OptionError, match="URL"):
        route(url, {}, None)


def test_a_url_that_cannot_be_read_is_refused():
    """A port that is no number is caught as well."""
    with pytest.raises(OptionError, match="cannot be read"):
        route("https://host:port/v1", {}, None)


def test_a_password_in_the_url_is_refused_and_not_repeated():
    """Credentials belong elsewhere, and the message does not hold them."""
    with pytest.raises(OptionError, match="holds a user or password") as caught:
        route(f"https://me:{KEY}@host/v1", {}, None)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("bad", [KEY + "\n", KEY + "\r\nX-Evil: 1", "“" + KEY + "”", KEY + "\x00"])
def test_a_key_no_header_can_carry_is_refused_and_not_repeated(bad):
    """A line break copied along with the key is said at once, without the key."""
    with pytest.raises(OptionError, match="The API key holds a character") as caught:
        route("https://host/v1", {}, Secret(bad))
    assert KEY not in str(caught.value)


def test_a_header_with_a_line_break_is_refused():
    """Nobody smuggles a second header in."""
    with pytest.raises(OptionError, match="The header 'X-Org'"):
        route("https://host/v1", {"X-Org": "a\r\nX-Evil: 1"}, None)


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "{key}"}])
def test_the_key_does_not_show(headers):
    """Neither the route, nor its headers alone, nor a query show a key."""
    made = route(f"https://host/v1?key={KEY}", headers, Secret(KEY))

    assert KEY not in repr(made)
    assert KEY not in f"{made}"
    assert KEY not in repr(made.headers)
    assert KEY not in repr(dict(made.headers))


def test_a_route_is_not_pickled():
    """It holds the key, so it stays in its process."""
    made = route("https://host/v1", {}, Secret(KEY))

    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(made)
    with pytest.raises(TypeError, match="cannot be pickled"):
        copy.copy(made)
