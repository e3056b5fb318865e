"""Doors: what the public methods of the accessors have in common."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from dfllm._core.errors import OptionError, listed, near

F = TypeVar("F", bound=Callable[..., Any])


def doors_of(owner: type) -> list[tuple[str, Callable[..., Any]]]:
    """Return the public methods that a class defines itself, by name."""
    return [(name, door) for name, door in vars(owner).items() if inspect.isfunction(door) and not name.startswith("_")]


def spelled_out(door: F, signature: inspect.Signature, also: Collection[str] = ()) -> F:
    """Return a door with the signature it really has, for help and tab completion, and a word on a misspelt option.

    Args:
        door: the method, which may take its options as ``**options``.
        signature: all that it takes.
        also: options that it takes to say itself why they are none of its own.
    """
    names = [name for name in signature.parameters if name != "self"]

    @functools.wraps(door)
    def checked(self: Any, *arguments: Any, **options: Any) -> Any:
        for name in options:
            if name not in names and name not in also:
                raise OptionError(
                    f"{door.__name__}() has no option {name!r}.{near(name, names)} It has {listed(names, 40)}."
                )
        return door(self, *arguments, **options)

    checked.__signature__ = signature  # type: ignore[attr-defined]  # inspect reads it
    del checked.__wrapped__  # Sphinx would look there for the defaults of options that only the signature has
    return checked  # type: ignore[return-value]  # the same door
