"""A reply's bytes are the JSON that providers send."""

import json

import pytest

from dfllm.simulator.replies import packed


@pytest.mark.parametrize(("value", "sent"), [({"a": "é"}, '{"a":"é"}'.encode()), ("\ud83d", b'"\\ud83d"')])
def test_packed_is_utf8_or_escaped(value, sent):
    """Text goes out as UTF-8; half a character can only go out as an escape."""
    assert sent == packed(value)
    assert value == json.loads(sent)
