"""Prompts from files: one line that ends like a template's file is a path, everything else is a prompt."""

from pathlib import Path

import pytest

from dfllm._core.errors import TemplateError
from dfllm._run.files import prompt_text


@pytest.mark.parametrize("name", ["prompt.j2", "my prompt.jinja", "prompt.jinja2"])
def test_path_stands_for_the_text_in_it(tmp_path: Path, name):
    """Read as UTF-8, as text or as a path."""
    path = tmp_path / name
    path.write_text("Où est {{ city }} ?\n", "utf-8")

    assert "Où est {{ city }} ?\n" == prompt_text(path) == prompt_text(str(path))


def test_path_object_needs_no_suffix(tmp_path: Path):
    """Whoever gives a path means one."""
    path = tmp_path / "prompt.txt"
    path.write_text("hello", "utf-8")

    assert "hello" == prompt_text(path)


@pytest.mark.parametrize(
    "prompt",
    ["hello", "", "see prompt.j2 now", "prompt.txt", "line\nprompt.j2", "{{ name }}.j2", "/etc/hostname"],
)
def test_text_is_a_prompt(prompt):
    """No file is opened for it, whether there is one or not."""
    assert prompt == prompt_text(prompt)


def test_list_of_messages_is_a_prompt():
    """It passes as it is."""
    messages = [{"role": "user", "content": "prompt.j2"}]

    assert messages is prompt_text(messages)


def test_file_that_is_not_there_is_named(tmp_path: Path):
    """The reason is the system's own."""
    with pytest.raises(TemplateError, match=r"lost\.j2' cannot be read: No such file or directory"):
        prompt_text(str(tmp_path / "lost.j2"))


def test_folder_is_no_prompt(tmp_path: Path):
    """It is said to be one."""
    with pytest.raises(TemplateError, match="Is a directory"):
        prompt_text(tmp_path)


def test_file_that_is_no_text_is_refused(tmp_path: Path):
    """Another encoding would be sent as nonsense."""
    path = tmp_path / "prompt.j2"
    path.write_bytes("Où ?".encode("latin-1"))

    with pytest.raises(TemplateError, match="it is no UTF-8 text"):
        prompt_text(path)
