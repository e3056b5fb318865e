"""Prompts from files: a path to a `.j2` file stands for the text in it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from dfllm._core.errors import TemplateError
from dfllm._core.tasks import Task

Written: TypeAlias = "str | os.PathLike[str] | Sequence[Mapping[str, str]]"
#: What the doors take for a prompt.
Given: TypeAlias = "Written | Task"


def prompt_text(prompt: Written) -> str | Sequence[Mapping[str, str]]:
    """Return the prompt with a path replaced by the file's text.

    A text is a path if it is one line that ends in ``.j2``, ``.jinja`` or ``.jinja2``.

    Raises:
        TemplateError: the file cannot be read.
    """
    if isinstance(prompt, str):
        if "\n" in prompt or not prompt.endswith((".j2", ".jinja", ".jinja2")) or "{{" in prompt:
            return prompt
    elif not isinstance(prompt, os.PathLike):
        return prompt
    path = Path(prompt)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise TemplateError(f"The template {str(path)!r} cannot be read: {reason}.") from error
