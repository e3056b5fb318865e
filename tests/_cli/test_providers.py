"""`dfllm providers`: everybody is listed, and no key is shown."""

import json

from click.testing import CliRunner

from dfllm._wire.providers import PROVIDERS
from dfllm.cli import main


def listed(*options):
    """Return what is printed."""
    ended = CliRunner().invoke(main, ["providers", *options])
    assert 0 == ended.exit_code, ended.output
    return ended.output


def test_everybody_is_listed():
    """One line each, behind a line of names."""
    names = [line.split()[0] for line in listed().splitlines()]

    assert ["provider", *PROVIDERS] == names


def test_keys_are_told_of_but_not_shown(monkeypatch):
    """Whether a variable is set, never what it holds."""
    monkeypatch.setenv("GEMINI_API_KEY", "secret-canary")

    plain, as_json = listed(), listed("--json")

    assert "GEMINI_API_KEY (set)" in plain
    assert "ANTHROPIC_API_KEY (not set)" in plain
    assert "secret-canary" not in plain + as_json


def test_json_has_a_mapping_each(monkeypatch):
    """With what it can do, for scripts."""
    monkeypatch.setenv("MISTRAL_API_KEY", "x")

    found = {one["provider"]: one for one in json.loads(listed("--json"))}

    assert (True, True, "openai") == tuple(found["mistral"][name] for name in ("key_is_set", "schema", "dialect"))
    assert (False, False) == tuple(found["deepseek"][name] for name in ("key_is_set", "schema"))
