"""Doors that take options by name: the signature each really has, and a good word on an option it has not."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from dfllm._core.errors import OptionError, listed, near

F = TypeVar("F", bound=Callable[..., Any])


def spelled_out(*owners: type, like: Callable[..., Any]) -> None:
    """Give every public method of these classes the options of one of them, for help, tab completion and checks.

    Args:
        owners: the classes.
        like: the method whose options all of them take; its first argument keeps each one's own default.
    """
    whole = inspect.signature(like)
    for owner in owners:
        for name, door in list(vars(owner).items()):
            if inspect.isfunction(door) and not name.startswith("_"):
                setattr(owner, name, _checked(door, whole))


def _checked(door: F, whole: inspect.Signature) -> F:
    own = inspect.signature(door)
    first = list(own.parameters.values())[:2]
    rest = list(whole.parameters.values())[2:]
    names = [option.name for option in rest]

    @functools.wraps(door)
    def checked(self: Any, *arguments: Any, **options: Any) -> Any:
        for name in options:
            if name not in names and name != first[1].name:
                raise OptionError(
                    f"{door.__name__}() has no option {name!r}.{near(name, names)} It has {listed(names, 30)}."
                )
        return door(self, *arguments, **options)

    signature = whole.replace(parameters=[*first, *rest], return_annotation=own.return_annotation)
    checked.__signature__ = signature  # type: ignore[attr-defined]  # inspect reads it
    return checked  # type: ignore[return-value]  # the same door
