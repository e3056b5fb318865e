"""The served model: another name for the same one, or another one."""

import pytest

from dfllm._core.served import is_another


@pytest.mark.parametrize(
    ("served", "asked"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4-0613", "gpt-4"),
        ("openai/gpt-4o", "gpt-4o"),
        ("gpt-4o", "openai/gpt-4o:free"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5-latest"),
        ("GPT-4o", "gpt-4o"),
        ("llama3.2:latest", "llama3.2"),
    ],
)
def test_same_model_under_another_name(served, asked):
    """Snapshots, vendors and upper case make no other model."""
    assert not is_another(served, asked)


@pytest.mark.parametrize(
    ("served", "asked"),
    [("gpt-4o-mini", "gpt-4o"), ("gpt-4o", "gpt-4"), ("gpt-4", "gpt-4o"), ("claude-haiku-4-5", "claude-sonnet-4-5")],
)
def test_another_model_is_another(served, asked):
    """A smaller one that a gateway falls back to is what the warning is for."""
    assert is_another(served, asked)
