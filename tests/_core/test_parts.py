"""Parts: one form for what can be said in several, so that equal questions have one key."""

from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.keys import key_of, keyer, text_of
from dfllm._core.parts import Brought, joined, listed, media_in, parts_of, split_url, turn, with_media
from dfllm._core.types import Failure, Illustrated, Message, Part, Parted, Request, Terms

ASKED = (Message("system", "You see."), Message("user", "What is it?"))
IMAGE = Part("image", "https://a/b.png")
FILE = Part("file", "https://a/b.pdf")
TEXT = Part("text", "What is it?")
TERMS = Terms("openai", "openai", "m")
parts = st.lists(st.builds(Part, st.sampled_from(["text", "image", "file"]), st.sampled_from(["a", "b", "c"])))


def test_text_alone_is_a_plain_message():
    """Several texts are its lines."""
    assert Message("user", "a\nb") == turn("user", [Part("text", "a"), Part("text", "b")])
    assert Message("user", "") == turn("user", [])


def test_images_before_one_text_are_what_an_image_column_gives():
    """So the key of a question with images is what it was before there were parts."""
    assert Illustrated("user", "What is it?", (IMAGE.value,)) == turn("user", [IMAGE, TEXT])
    assert Illustrated("user", "", (IMAGE.value,)) == turn("user", [IMAGE])


def test_other_orders_and_files_are_kept():
    """An image behind its text is another question than one before it."""
    for given_parts in ([TEXT, IMAGE], [FILE, TEXT], [IMAGE, FILE], [TEXT, IMAGE, Part("text", "b")]):
        made = turn("user", given_parts)

        assert isinstance(made, Parted)
        assert tuple(given_parts) == parts_of(made)
    assert "What is it?\nb" == made.content


def test_golden_key_of_a_question_with_images():
    """It stands in people's stores."""
    asked = (Message("system", "You see."), Illustrated("user", "What is it?", ("https://a/b.png",)))

    assert "k1d120831366ddbbd201a784acfb7a00acc0db4158" == text_of(key_of(Request(TERMS, asked)))


def test_golden_key_of_a_question_of_parts():
    """So does this one."""
    asked = (turn("user", [FILE, IMAGE, TEXT, IMAGE]),)

    assert "k1a9eb1a9784e07d324443d61de121d5b81bd1f287" == text_of(key_of(Request(TERMS, asked)))


def test_media_stand_in_the_last_turn_of_the_user():
    """Few-shot turns before it, and the mending after it, are left alone."""
    asked = (Message("user", "one"), Message("assistant", "1"), Message("user", "two"), Message("assistant", "2"))

    shown = with_media(asked, (FILE, IMAGE))

    assert [(), (), (FILE, IMAGE, Part("text", "two")), ()] == [
        parts_of(message) if message.__class__ is not Message else () for message in shown
    ]
    assert [FILE, IMAGE] == list(media_in(shown))
    assert asked is with_media(asked, ())
    assert Illustrated("user", "", (IMAGE.value,)) == with_media(ASKED[:1], (IMAGE,))[-1]


def test_a_row_s_own_turns_stand_between_the_rules_and_the_prompt():
    """Its conversation goes on with the prompt's turns."""
    talk = (Message("user", "Hi."), Message("assistant", "Yes?"))

    assert (ASKED[0], *talk, ASKED[1]) == joined(ASKED, Brought(talk))
    assert talk == joined((), Brought(talk))
    assert (*talk, ASKED[1]) == joined(ASKED[1:], Brought(talk))
    assert (ASKED[0], Illustrated("user", "Hi.", (IMAGE.value,)), talk[1]) == joined(ASKED[:1], Brought(talk, (IMAGE,)))


def test_rules_are_given_once():
    """Two system messages would be a question nobody meant."""
    made = joined(ASKED, Brought((Message("system", "Be brief."), Message("user", "Hi."))))

    assert isinstance(made, Failure)
    assert "BadInput: its conversation has a system message, and system= gives another" == str(made)


@given(parts, parts)
def test_other_parts_are_another_question(some, others):
    """Each part, its kind and their order are in the key."""
    key = keyer(TERMS)

    assert (turn("user", some) == turn("user", others)) == (key((turn("user", some),)) == key((turn("user", others),)))


@given(parts)
def test_a_turn_made_again_is_the_same(some):
    """The form is settled at once."""
    made = turn("user", some)

    assert made == turn("user", parts_of(made))


def test_urls_are_split():
    """Into the type and the base64; an address has neither."""
    assert ("image/png", "aGk=") == split_url("data:image/png;base64,aGk=")
    assert None is split_url("https://a/b.png")


def test_lists_are_told_from_other_cells():
    """Text is no list, whatever is in it."""
    import numpy as np

    assert [[1, 2]] * 3 == [listed(value) for value in ([1, 2], (1, 2), np.array([1, 2]))]
    assert [None] * 3 == [listed(value) for value in ("[1]", {"a": 1}, np.int64(3))]
