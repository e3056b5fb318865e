"""Exceptions: one root, the builtin a reader would guess, and messages that name what was meant."""

import pickle

import pytest

import dfllm
from dfllm._core import errors
from dfllm._core.errors import STOPS, DfllmError, RunStopped, TemplateError, listed, near
from dfllm._core.types import Failure

ERRORS = {name: one for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, Exception)}


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("TemplateError", ValueError),
        ("OptionError", ValueError),
        ("ProviderUnknown", ValueError),
        ("KeyMissing", LookupError),
        ("StoreError", OSError),
        ("AuthFailed", PermissionError),
        ("PermissionDenied", PermissionError),
        ("ModelNotFound", LookupError),
        ("BadRequest", ValueError),
        ("TlsError", ConnectionError),
        ("ConnectFailed", ConnectionError),
        ("RowsFailed", RunStopped),
        ("QuotaExhausted", RunStopped),
        ("RateLimited", RunStopped),
        ("ProviderError", RunStopped),
    ],
)
def test_error_is_one_of_ours_and_what_one_would_guess(name, builtin):
    """Who knows the builtin need not know ours."""
    assert issubclass(ERRORS[name], DfllmError)
    assert issubclass(ERRORS[name], builtin)


@pytest.mark.parametrize("name", ERRORS)
def test_error_and_warning_is_public(name):
    """What can be raised can be caught by its name."""
    assert ERRORS[name] is getattr(dfllm, name)
    assert issubclass(ERRORS[name], DfllmError if not issubclass(ERRORS[name], Warning) else dfllm.DfllmWarning)


@pytest.mark.parametrize("name", [name for name in ERRORS if not issubclass(ERRORS[name], Warning)])
def test_error_survives_a_pickle(name):
    """Worker processes hand them on, with the frame and the failure where they have them."""
    error = ERRORS[name]("it says why")
    if isinstance(error, RunStopped):
        error.frame, error.failure = [1], Failure("AuthFailed", "no")

    again = pickle.loads(pickle.dumps(error))

    assert (type(error), str(error)) == (type(again), str(again))
    assert vars(error) == vars(again)


def test_run_is_stopped_by_errors_of_the_same_name_as_the_failures():
    """A failure's type leads to the exception."""
    assert set(STOPS) == {kind.__name__ for kind in STOPS.values()}
    assert all(issubclass(kind, RunStopped) for kind in STOPS.values())


def test_stopped_run_brings_its_frame():
    """What is known is not lost with the exception."""
    failure = Failure("AuthFailed", "key rejected")

    error = RunStopped("stopped", frame="the frame", failure=failure)

    assert ("stopped", "the frame", failure) == (str(error), error.frame, error.failure)
    assert (None, None) == (RunStopped("stopped").frame, RunStopped("stopped").failure)


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("reveiw", ["id", "review"], " Did you mean 'review'?"),
        ("zzz", ["id", "review"], ""),
        ("review", [], ""),
        ("", ["id"], ""),
    ],
)
def test_nearest_name_is_a_hint_or_nothing(name, known, hint):
    """A hint stands at the end of a sentence, with its space."""
    assert hint == near(name, known)


@pytest.mark.parametrize(
    ("count", "shown"), [(0, ""), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 and 1 more"), (9, "0, 1, 2 and 6 more")]
)
def test_long_lists_end_in_a_count(count, shown):
    """What is left out is counted."""
    assert shown == listed([str(number) for number in range(count)], 3)


def test_missing_column_is_said_with_those_that_are_there():
    """And the nearest."""
    said = str(TemplateError.no_column("rewiew", ["id", "review"]))

    assert "The template asks for 'rewiew'; the frame has id, review. Did you mean 'review'?" == said
    assert "the frame has no columns." in str(TemplateError.no_column("a", []))
