"""A warning names the line of the user's that it is about."""

from __future__ import annotations

import pytest

from dfllm._core.errors import StoreWarning
from dfllm._core.warned import warn


def called_by(name, call):
    """Call it from a module of this name."""
    names = {"__name__": name, "call": call}
    exec(compile("def pass_on():\n    call()", f"{name}.py", "exec"), names)
    names["pass_on"]()


def test_line_is_the_one_that_called_the_library():
    """Whatever of ours, and of an event loop's, lies between."""
    with pytest.warns(StoreWarning, match="look") as caught:
        called_by("asyncio.events", lambda: called_by("dfllm.accessor", lambda: warn("look", StoreWarning)))

    assert [__file__] == [one.filename for one in caught]


def test_name_that_begins_like_ours_is_no_line_of_ours():
    """A package of the user's may be called dfllm_jobs."""
    names = {"__name__": "dfllm_jobs", "warn": warn, "kind": StoreWarning}
    exec(compile("def work():\n    warn('look', kind)", "dfllm_jobs.py", "exec"), names)

    with pytest.warns(StoreWarning) as caught:
        names["work"]()

    assert ["dfllm_jobs.py"] == [one.filename for one in caught]


def test_what_a_warning_quotes_has_no_control_codes():
    """A provider's name for a model is shown in a terminal, and obeyed by none."""
    with pytest.warns(StoreWarning) as caught:
        warn("m\x1b[2J\x9b1\u202e", StoreWarning)

    assert ["m[2J1"] == [str(one.message) for one in caught]
