"""Aliases: models' own names as columns can hold them, told apart, and what names none is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.aliases import aliases_of, check_told_apart, fallbacks_of
from dfllm._core.errors import OptionError


@pytest.mark.parametrize(
    ("models", "aliases"),
    [
        (["openai/gpt-5.1-mini", "anthropic:claude-haiku"], ["gpt_5_1_mini", "claude_haiku"]),
        (["openai/small", "azure/small"], ["openai_small", "azure_small"]),
        (["together/meta/llama-3", "groq/llama-3"], ["meta_llama_3", "llama_3"]),
        (["lab/a-b", "lab/a.b"], ["lab_a_b", "lab_a_b_2"]),
        (["lab/\u00e9"], ["model"]),
    ],
)
def test_a_list_gives_the_models_own_names(models, aliases):
    """Letters and digits, the provider in front where two would be the same, a number where that is no help."""
    assert dict(zip(aliases, models, strict=True)) == aliases_of(models)


@given(st.lists(st.sampled_from(["a/x", "b/x", "a/x-", "a/x_2", "b/x-2", "a/a_x"]), unique=True, min_size=1))
def test_every_model_of_a_list_has_an_alias_of_its_own(models):
    """However alike they are called."""
    assert len(models) == len(aliases_of(models))


def test_one_model_has_no_alias():
    """Neither a name nor the default."""
    assert (None, None) == (aliases_of("openai/gpt"), aliases_of(None))


def test_a_mapping_names_them_itself():
    """As it says, in its order."""
    assert {"b": "x/1", "a": "x/2"} == aliases_of({"b": "x/1", "a": "x/2"})


@pytest.mark.parametrize("model", [[], {}, ["a/b"] * 21, ["a/b", ""], {1: "a/b"}, {"": "a/b"}, {"a": None}, 7, b"a/b"])
def test_what_names_no_models_is_refused(model):
    """A list of nothing, of too many, or of what is no text."""
    with pytest.raises(OptionError, match="model="):
        aliases_of(model)


def test_fallbacks_are_a_list_or_one():
    """A text is one model; nothing is none."""
    assert [("a/b",), ("a/b", "c/d"), (), ()] == [fallbacks_of(given) for given in ("a/b", ["a/b", "c/d"], (), None)]


@pytest.mark.parametrize("fallback", [3, [3], [""], {"a": "b"}, ["a/b"] * 21])
def test_what_is_no_fallback_is_refused(fallback):
    """Saying what it takes."""
    with pytest.raises(OptionError, match="fallback="):
        fallbacks_of(fallback)


def test_a_model_is_named_once():
    """Twice the same answers would look like agreement."""
    check_told_apart(["a/b", "a/c"])

    with pytest.raises(OptionError, match="a/b is named twice"):
        check_told_apart(["a/b", "a/c", "a/b"])
