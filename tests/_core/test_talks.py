"""Talks: a cell's conversation as messages; what is wrong with one is said, and nothing of what is in it."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.images import Unfit
from dfllm._core.talks import talk_of
from dfllm._core.types import Illustrated, Message, Part, Parted

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "Where is Oslo?"},
]
MESSAGES = tuple(Message(one["role"], one["content"]) for one in TALK)


def show(kind, cell):
    """Return a part that says what it was made of."""
    return Part(kind, f"https://a/{cell}")


@pytest.mark.parametrize(
    "cell",
    [
        TALK,
        tuple(TALK),
        json.dumps(TALK),
        np.array(TALK, dtype=object),
        [{**one, "name": None} for one in TALK],
        [{"role": one["role"], "content": [{"type": "text", "text": one["content"], "image": None}]} for one in TALK],
        [{"role": one["role"], "content": np.array([{"type": "text", "text": one["content"]}])} for one in TALK],
    ],
    ids=["list", "tuple", "json", "array", "parquet", "parts", "parts of arrays"],
)
def test_a_conversation_is_the_same_however_it_is_held(cell):
    """As Python, JSON or pandas from Parquet have it."""
    assert MESSAGES == talk_of(cell, show)


def test_parts_show_images_and_files():
    """In their order."""
    said = {"type": "text", "text": "See?"}
    image, file = {"type": "image", "image": "b.png"}, {"type": "file", "file": "c.pdf"}

    one, other = talk_of(
        [{"role": "user", "content": [image, said]}, {"role": "user", "content": [said, file, image]}], show
    )

    assert Illustrated("user", "See?", ("https://a/b.png",)) == one
    assert isinstance(other, Parted)
    assert (Part("text", "See?"), Part("file", "https://a/c.pdf"), Part("image", "https://a/b.png")) == other.parts


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (7, "int is no list of messages"),
        ({"role": "user"}, "dict is no list of messages"),
        ("secret", "text that is no JSON list of messages"),
        ('{"role": "user"}', "str is no list of messages"),
        ("[" * 100_000, "text that is no JSON list of messages"),
        ([], "conversation without a message"),
        (["secret"], "message 1 is no dict"),
        ([TALK[0], {"role": "secret", "content": "x"}], "message 2 has a role that is none of system, developer"),
        ([{"role": "user", "content": "x", "secret": 1}], "message 1 has a key that is none of role, content"),
        ([{"role": "user"}], "content of message 1 is neither text nor a list of parts"),
        ([{"role": "user", "content": " "}], "message 1 is empty"),
        ([{"role": "user", "content": []}], "message 1 is empty"),
        ([{"role": "user", "content": "\ud83d"}], "message 1 holds a lone surrogate"),
        ([{"role": "user", "content": ["x"]}], "part 1 of message 1 is no dict"),
        ([{"role": "user", "content": [{"type": "sound"}]}], "part 1 of message 1 has a type that is none of"),
        ([{"role": "user", "content": [{"type": "text", "image": "x"}]}], "part 1 of message 1 is of the type text"),
        ([{"role": "user", "content": [{"type": "text", "text": 7}]}], "part 1 of message 1 holds int where text"),
        (
            [{"role": "assistant", "content": [{"type": "image", "image": "x"}]}],
            "message 1 shows something, which only",
        ),
    ],
)
def test_what_is_no_conversation_says_where(cell, why):
    """The message's number, and nothing that stands in it."""
    with pytest.raises(Unfit) as raised:
        talk_of(cell, show)

    assert str(raised.value).startswith(why)
    assert "secret" not in str(raised.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "type", "text"]), inner),
)


@given(values)
def test_any_cell_is_a_conversation_or_says_why_not(cell):
    """Nothing else comes out of it."""
    with contextlib.suppress(Unfit):
        assert all(isinstance(message, Message) for message in talk_of(cell, show))
