"""Errors are a line, warnings too, and a terminal obeys nothing that came from a model."""

import io
import warnings
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import dfllm
from dfllm._cli import saying
from dfllm._cli.saying import Commands, Screen, line


def commands(raised: BaseException | None = None, warning: Warning | None = None) -> click.Group:
    """Return a group whose one command warns and raises as it is told."""
    group = Commands("dfllm")

    @group.command()
    def act() -> None:
        if warning is not None:
            warnings.warn(warning, stacklevel=1)
        if raised is not None:
            raise raised

    return group


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (dfllm.OptionError("No\x1b[31m way."), 1, "dfllm: No[31m way.\n"),
        (dfllm.StoreError("The store is gone."), 1, "dfllm: The store is gone.\n"),
        (dfllm.ConnectFailed("Nobody there."), 1, "dfllm: Nobody there.\n"),
        (KeyboardInterrupt(), 130, "dfllm: interrupted.\n"),
        (click.UsageError("No."), 2, "Usage: "),
    ],
    ids=lambda given: type(given).__name__,
)
def test_errors_are_a_line_and_a_code(raised, code, said):
    """What the library raises is told on stderr, without a traceback."""
    ended = CliRunner().invoke(commands(raised), ["act"])

    assert (code, "", said) == (ended.exit_code, ended.stdout, ended.stderr[: len(said)])
    assert "Traceback" not in ended.stderr


def test_mistakes_of_ours_are_not_hidden():
    """What the library does not raise is a bug, and bugs may trace."""
    ended = CliRunner().invoke(commands(ZeroDivisionError("ours")), ["act"])

    assert "ours" == str(ended.exception)


def test_warnings_are_a_line():
    """A warning of the library is told without a file's name; rows that failed are the report's to tell."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        told = CliRunner().invoke(commands(warning=dfllm.StoreWarning("Look at it.")), ["act"])
        untold = CliRunner().invoke(commands(warning=dfllm.RowsFailedWarning("3 rows")), ["act"])

    assert ("dfllm: Look at it.\n", "") == (told.stderr, untold.stderr)


def test_warnings_of_others_keep_their_place(monkeypatch: pytest.MonkeyPatch):
    """What another library warns of is shown as Python shows it, with its file."""
    shown: list[object] = []
    monkeypatch.setattr(saying, "_shown_by_python", lambda *given: shown.append(given[:3]))
    warning = UserWarning("theirs")
    with warnings.catch_warnings():
        warnings.simplefilter("default")

        ended = CliRunner().invoke(commands(warning=warning), ["act"])

    assert [(warning, UserWarning, __file__)] == shown
    assert "" == ended.stderr


def test_warnings_are_python_s_again_afterwards():
    """A command leaves no trace in the process's way of warning."""
    before = warnings.showwarning, list(warnings.filters)

    CliRunner().invoke(commands(), ["act"])

    assert before == (warnings.showwarning, list(warnings.filters))


def test_json_is_one_plain_line():
    """JSON on a line is ASCII without control codes, whatever is in it."""
    text = line({"a": "\x1b\nü", "b": Path("x")})

    assert '{"a": "\\u001b\\n\\u00fc", "b": "x"}' == text


def test_terminal_gets_lines_without_control_codes():
    """A table on a screen is text to read, whatever is in its cells; a byte that is no text shows as such."""
    sink = io.BytesIO()

    Screen(sink).writelines([b"a\x1b[2J,b\r\n", "ü\x9b31m\u202e\n".encode(), b"\xff\n"])

    assert "a[2J,b\nü31m\n\ufffd\n" == sink.getvalue().decode()
