"""Exceptions: what concerns a whole call, raised before anything is spent where that is possible.

    DfllmError
    ├── TemplateError (ValueError)      a template cannot be read, or asks for what the frame has not
    ├── OptionError (ValueError)        an option does not make sense, alone or with the frame
    ├── ProviderUnknown (ValueError)    no provider of that name
    ├── KeyMissing (LookupError)        the provider wants an API key and none is set
    ├── StoreError (OSError)            the store cannot be read or written
    └── RunStopped                      the run ended early; `.frame` has what is known
        ├── RowsFailed                  as `on_error` asked
        └── AuthFailed PermissionDenied QuotaExhausted ModelNotFound BadRequest
            RateLimited TlsError ConnectFailed ProviderError     as the provider or the network said

What concerns one row is no exception but a `Failure`, and lands in the error column.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from dfllm._core.types import Failure


def near(name: str, known: Sequence[str]) -> str:
    """Return a hint that names the nearest known word, or nothing."""
    found = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return the names in one line, the long tail as a count."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


class DfllmError(Exception):
    """The root of all exceptions of this library."""


class TemplateError(DfllmError, ValueError):
    """The template cannot be rendered for this frame. Nothing was sent."""

    @classmethod
    def no_column(cls, name: str, columns: Sequence[str], *, of: str = "The template") -> Self:
        """Say which column is missing, and which one may be meant."""
        has = listed(columns) or "no columns"
        return cls(f"{of} asks for {name!r}; the frame has {has}.{near(name, columns)}")


class OptionError(DfllmError, ValueError):
    """An option does not make sense, alone or with this frame. Nothing was sent."""


class ProviderUnknown(DfllmError, ValueError):
    """No provider of that name is known. Nothing was sent."""


class KeyMissing(DfllmError, LookupError):
    """The provider wants an API key and none is set. Nothing was sent."""


class StoreError(DfllmError, OSError):
    """The store cannot be read or written."""


class RunStopped(DfllmError):
    """The run ended early. What was answered is in the store; run again to go on.

    Attributes:
        frame: the frame with every row that is known, the others' errors beside them.
        failure: what stopped the run, where one failure did.
    """

    def __init__(self, message: str, *, frame: Any = None, failure: Failure | None = None) -> None:
        super().__init__(message)
        self.frame = frame
        self.failure = failure


class RowsFailed(RunStopped):
    """Rows failed and ``on_error`` asked for an exception."""


class AuthFailed(RunStopped, PermissionError):
    """The provider rejects the API key."""


class PermissionDenied(RunStopped, PermissionError):
    """The key is good, what it asks for is not allowed."""


class QuotaExhausted(RunStopped):
    """The account has no money or quota left."""


class ModelNotFound(RunStopped, LookupError):
    """The provider does not know the model."""


class BadRequest(RunStopped, ValueError):
    """The provider refuses the request as it is written."""


class RateLimited(RunStopped):
    """A limit that does not end soon, such as one per day."""


class TlsError(RunStopped, ConnectionError):
    """The provider's certificate cannot be trusted."""


class ConnectFailed(RunStopped, ConnectionError):
    """The provider cannot be reached."""


class ProviderError(RunStopped):
    """The provider answers with something no provider should, such as a redirect."""


STOPS: dict[str, type[RunStopped]] = {
    kind.__name__: kind
    for kind in (
        AuthFailed,
        PermissionDenied,
        QuotaExhausted,
        ModelNotFound,
        BadRequest,
        RateLimited,
        TlsError,
        ConnectFailed,
        ProviderError,
    )
}


class DfllmWarning(UserWarning):
    """The root of all warnings of this library."""


class RowsFailedWarning(DfllmWarning):
    """Some rows of a run have no answer; given once a run, with the counts."""


class ModelWarning(DfllmWarning):
    """Another model answered than was asked for, a fallback among them; given once a run, with the counts."""


class SamplesWarning(DfllmWarning):
    """The samples of a row may be equal, for what goes with each of them; given once a call."""


class AccessorWarning(DfllmWarning):
    """Another package's ``df.llm`` was replaced."""


class PromptCacheWarning(DfllmWarning):
    """Much of what a run's prompts share was read at the full price; given once a run, with what may be done."""


class StoreWarning(DfllmWarning):
    """The store needs a look; the run went on."""
