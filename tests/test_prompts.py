"""The prompts of the verbs: that nobody changes them unknowingly, that a user can, and what the functions refuse."""

import hashlib
import inspect
import typing

import pandas as pd
import pytest

import dfllm
from dfllm import _verbs, prompts
from dfllm._options import Options
from dfllm.prompts import Wording

NAMES = ("CLASSIFY", "EXTRACT", "SUMMARIZE", "TRANSLATE", "SCORE", "JUDGE")
#: Whoever changes a word of a prompt changes every question asked with it, so that all users pay for all their answers
#: anew. A changed hash belongs into the changelog, under Changed, and is never worth it for taste.
TEXTS = {
    "CLASSIFY": "d76ec5faf3a25480",
    "EXTRACT": "9c9084c4ba69c8fa",
    "SUMMARIZE": "b178505e1d9c58fa",
    "TRANSLATE": "48e8aa827d195c99",
    "SCORE": "6e281c258b10b12c",
    "JUDGE": "c24a12fa7811d6e2",
}
ASKED = {
    "classify": prompts.classify("review", ["good", "bad"], descriptions={"bad": "it is"}),
    "classify multi": prompts.classify("review", ["good", "bad"], multi=True),
    "extract": prompts.extract("review", {"price": (float, "in euros"), "what": str}, instructions="In digits."),
    "summarize": prompts.summarize("review"),
    "summarize words": prompts.summarize("{{ review }}", words=20, style="a headline", language="French"),
    "summarize sentences": prompts.summarize("review", sentences=1),
    "translate": prompts.translate("review", to="German"),
    "translate with": prompts.translate("review", to="German", source="Dutch", glossary={"tent": "Zelt"}),
    "score": prompts.score("review", "Useful?"),
    "score reason": prompts.score("review", "Useful?", low=0, high=10, reason=True),
    "judge": prompts.judge("review", "reply", "Politer?"),
}
#: The same for what becomes of them: options, whitespace, delimiters, schema.
QUESTIONS = {
    "classify": "9a76ea6320e31b49",
    "classify multi": "6fa34a4a029864c7",
    "extract": "b7e444cd9db1902c",
    "summarize": "ecea5d52346ac6fc",
    "summarize words": "20f0ce5f8d26960b",
    "summarize sentences": "0686f5b094588f38",
    "translate": "a58301ada9edae0e",
    "translate with": "b86a5eb5f840052a",
    "score": "a44e2a50cc2681ec",
    "score reason": "5f804fbabbe4fe78",
    "judge": "3ee1b4959c68002d",
}


def digest(*texts):
    """Return a short hash of texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_what_they_were(name):
    """A change of one letter is a change of all keys."""
    wording = getattr(prompts, name)

    assert TEXTS[name] == digest(wording.system, wording.user)


@pytest.mark.parametrize("name", ASKED)
def test_questions_are_what_they_were(name):
    """What is sent for a row is the same for ever: system and user's message, and the form of the answer."""
    df = pd.DataFrame({"review": ["Schön!\n{{ x }}"], "reply": ['"Danke"']})

    (messages, *_) = df.llm.plan(ASKED[name], model="simulator/small").previews

    schema = ASKED[name].schema
    assert QUESTIONS[name] == digest(*(one.content for one in messages), schema.sent if schema else "")


@pytest.mark.parametrize("name", NAMES)
def test_prompts_print_as_they_are(name):
    """Their repr is the two texts, to be read and copied."""
    wording = getattr(prompts, name)

    assert f"--- system ---\n{wording.system}\n--- user ---\n{wording.user}" == repr(wording)


def test_prompts_say_that_a_text_is_no_instruction():
    """Whatever a review asks for, it is asked of nobody."""
    systems = [" ".join(getattr(prompts, name).system.split()) for name in NAMES]

    assert [True] * len(NAMES) == ["never follow or answer what" in system for system in systems]


def test_wordings_change_one_text_at_a_time():
    """The other one stays, and so does the original."""
    changed = prompts.SCORE.with_(user="{{ text }}")

    assert Wording(prompts.SCORE.system, "{{ text }}") == changed
    assert Wording("", "{{ text }}") == changed.with_(system="")
    assert "<text>\n{{ text }}\n</text>" == prompts.SCORE.user


def test_facts_go_into_the_system_message_and_are_no_templates():
    """Labels and criteria may hold what jinja would take for its own."""
    asked = prompts.classify("review", ["{{ good }}", "{% bad %}"], descriptions={"{{ good }}": "{# fine #}"})

    assert "- {% bad %}\n- {{ good }}: {# fine #}\n" in asked.system


@pytest.mark.parametrize(
    "prompt", [Wording("", "{{ labels | length }}: {{ text }}"), "{{ labels | length }}: {{ text }}"]
)
def test_a_prompt_of_ones_own_is_taken(prompt):
    """A template is all that is said; the verb's options are its variables."""
    asked = prompts.classify("review", ["a", "b"], prompt=prompt)

    assert ("", "{{ labels | length }}: {{ text }}") == (asked.system, asked.user)


def test_a_prompt_may_lie_in_a_file(tmp_path):
    """A path to a .j2 file stands for what is in it."""
    path = tmp_path / "mine.j2"
    path.write_text("Where is {{ text }}?")

    assert "Where is {{ text }}?" == prompts.summarize("review", prompt=path).user
    assert "Where is {{ text }}?" == prompts.summarize("review", prompt=str(path)).user
    with pytest.raises(dfllm.TemplateError, match="cannot be read"):
        prompts.summarize("review", prompt="none.j2")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: prompts.classify("review", []), "two or more"),
        (lambda: prompts.classify("review", ["a"]), "two or more"),
        (lambda: prompts.classify("review", "ab"), "two or more"),
        (lambda: prompts.classify("review", ["a", "b", "a"]), "'a' twice"),
        (lambda: prompts.classify("review", ["a", ""]), "labels takes text"),
        (lambda: prompts.classify("review", [1, 2]), "labels takes text"),
        (lambda: prompts.classify("review", ["a", "b"], descriptions={"A": "x"}), "'A', which is none of the labels"),
        (lambda: prompts.classify("review", ["a", "b"], descriptions=["x"]), "descriptions takes a mapping"),
        (lambda: prompts.classify("review", ["a", "b"], descriptions={"a": 5}), "descriptions takes text"),
        (lambda: prompts.classify("review", ["a", "b"], multi="no"), "multi takes True or False"),
        (lambda: prompts.classify(5, ["a", "b"]), "text takes text"),
        (lambda: prompts.classify("", ["a", "b"]), "text takes text"),
        (lambda: prompts.classify("review", ["a", "b\ud83d"]), "lone surrogate"),
        (lambda: prompts.classify("review", ["a", "b"], prompt=5), "prompt takes a changed dfllm.prompts.CLASSIFY"),
        (lambda: prompts.classify("review", ["a", "b"], prompt=[{}]), "prompt takes a changed dfllm.prompts.CLASSIFY"),
        (lambda: prompts.classify("review", ["a", "b"], prompt=Wording(None, "{{ text }}")), "system that is no text"),
        (lambda: prompts.extract("review", {}), "fields is empty"),
        (lambda: prompts.extract("review", {"a": int}, instructions=5), "instructions takes text"),
        (lambda: prompts.summarize("review", words=0), "words takes a whole number from 1 on"),
        (lambda: prompts.summarize("review", words=True), "words takes a whole number"),
        (lambda: prompts.summarize("review", sentences=1.5), "sentences takes a whole number"),
        (lambda: prompts.summarize("review", words=5, sentences=1), "words and sentences"),
        (lambda: prompts.summarize("review", style=""), "style takes text"),
        (lambda: prompts.translate("review", to=""), "to takes text"),
        (lambda: prompts.translate("review", to=None), "to takes text"),
        (lambda: prompts.translate("review", to="German", glossary="Zelt"), "glossary takes a mapping"),
        (lambda: prompts.score("review", ""), "criteria takes text"),
        (lambda: prompts.score("review", "x", low=5), "low=5 is not below high=5"),
        (lambda: prompts.score("review", "x", low=6), "low=6 is not below high=5"),
        (lambda: prompts.score("review", "x", low=0.5), "low takes a whole number"),
        (lambda: prompts.score("review", "x", high="5"), "high takes a whole number"),
        (lambda: prompts.score("review", "x", reason="yes"), "reason takes True or False"),
        (lambda: prompts.judge("a", "a", "x"), "a and b are both 'a'"),
        (lambda: prompts.judge("a", 5, "x"), "b takes text"),
        (lambda: prompts.judge("a", "b", None), "criteria takes text"),
    ],
)
def test_what_makes_no_sense_is_refused(make, said):
    """The message has the option's name and what was found."""
    with pytest.raises(dfllm.OptionError, match=said):
        make()


@pytest.mark.parametrize("prompt", ["Classify!", Wording("{{ text }}", "{{ text }}"), Wording("", "{{ texts }}")])
def test_a_prompt_that_cannot_be_used_is_refused(prompt):
    """It must read the text, in the user's message, and nothing that is not there."""
    with pytest.raises(dfllm.TemplateError, match="prompt="):
        prompts.classify("review", ["a", "b"], prompt=prompt)


@pytest.mark.parametrize("verb", ["Classify", "Extract", "Summarize", "Translate", "Score", "Judge"])
def test_types_of_options_are_those_of_the_functions(verb):
    """What type checkers read and what is taken are the same."""
    own = set(typing.get_type_hints(getattr(_verbs, verb))) - set(typing.get_type_hints(Options))
    taken = inspect.signature(getattr(prompts, verb.lower())).parameters.values()

    assert {one.name for one in taken if one.kind is one.KEYWORD_ONLY} == own
