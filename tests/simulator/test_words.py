"""A shallow reading finds subject, mood and label."""

import pytest

from dfllm.simulator import words

SENTIMENTS = ["positive", "negative", "neutral", "mixed"]


@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        ("Where is Oslo?", "Where is Oslo?"),
        ("Summarise: The food was fine.", "The food was fine."),
        ("Is this good? I love it.", "I love it."),
        ("Classify the following customer review by its sentiment.\n\nReview: Late.", "Late."),
        ("The room was cold.\nWhat is this about, in a word or perhaps two or three?", "The room was cold."),
        ("At 12:30 we left", "At 12:30 we left"),
        ("", ""),
    ],
)
def test_subject_is_what_is_talked_about(prompt, subject):
    """Instructions and titles are taken off."""
    assert subject == words.subject_of(prompt)


@pytest.mark.parametrize(
    ("text", "mood"),
    [
        ("I love it", "good"),
        ("A terrible, dirty place", "bad"),
        ("Great food but slow service", "mixed"),
        ("It is a table", "flat"),
        ("It is not good", "bad"),
        ("It doesn\u2019t look bad", "good"),
    ],
)
def test_mood_is_counted(text, mood):
    """Good and bad words decide, and a negation turns them round."""
    assert mood == words.mood_of(text).name


@pytest.mark.parametrize(
    ("labels", "text", "label"),
    [
        (SENTIMENTS, "Positive or negative? What a wonderful phone", "positive"),
        (SENTIMENTS, "Review: broken on arrival", "negative"),
        (SENTIMENTS, "Review: it has four legs", "neutral"),
        (SENTIMENTS, "Review: great food, awful music", "mixed"),
        (["positive", "negative"], "Review: great food, lovely, friendly staff, slow", "positive"),
        (["billing", "shipping"], "Ticket: my shipping label is gone", "shipping"),
        (["Bug", "Idea"], "An idea: this bug could be a feature", "Bug"),
    ],
)
def test_label_looks_right(labels, text, label):
    """Moods are felt, other labels are looked for in the text."""
    assert label == words.label_for(labels, text, "key")


def test_label_by_luck_is_one_of_them():
    """Where the text says nothing, luck decides, and all labels come up."""
    chosen = {words.label_for(["a1", "b2", "c3"], "nothing", turn) for turn in range(50)}

    assert {"a1", "b2", "c3"} == chosen


def test_topics_put_names_first():
    """Names and long words carry a text; small words do not."""
    assert ["Norway", "capital"] == sorted(words.topics_of("What is the capital of Norway?"))
