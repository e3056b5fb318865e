"""Several models of one call: what each is called in the columns that hold its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dfllm._core.errors import OptionError

_MANY = 20
#: What a list of models leaves of their names: a column that can be typed.
_ODD = re.compile(r"[^0-9A-Za-z]+")


def aliases_of(model: object) -> dict[str, str] | None:
    """Return the models by their aliases; None where there is one model, or the default.

    Of a list, each alias is the model's own name with anything but letters and digits as ``_``; where two come out the
    same, the provider's stands before both.

    Raises:
        OptionError: it names no models, one twice, or one that has no alias.

    Example:
        >>> aliases_of(["openai/gpt-5.1-mini", "anthropic/claude-haiku"])
        {'gpt_5_1_mini': 'openai/gpt-5.1-mini', 'claude_haiku': 'anthropic/claude-haiku'}
    """
    if model is None or isinstance(model, str):
        return None
    if isinstance(model, Mapping):
        pairs = [(alias, _named(name)) for alias, name in model.items()]
        if odd := [alias for alias, _ in pairs if not isinstance(alias, str) or not alias]:
            raise OptionError(f"model= is a mapping from aliases to models, and an alias is text; found {odd[0]!r}.")
    elif isinstance(model, Sequence) and not isinstance(model, bytes):
        names = [_named(name) for name in model]
        pairs = list(zip(_told_apart(names), names, strict=True))
    else:
        raise OptionError(f"model={model!r} does not fit; it takes 'provider/model', a list or a mapping of them.")
    if not 0 < len(pairs) <= _MANY:
        raise OptionError(f"model= takes 1 to {_MANY} models; found {len(pairs)}.")
    return dict(pairs)


def fallbacks_of(fallback: object) -> tuple[str, ...]:
    """Return the models that are asked where others failed, in order.

    Raises:
        OptionError: they are no names of models.
    """
    given: Any = (fallback,) if isinstance(fallback, str) else () if fallback is None else fallback
    if not isinstance(given, Sequence) or isinstance(given, bytes) or len(given) > _MANY:
        raise OptionError(f"fallback= takes a list of 'provider/model', at most {_MANY}; found {fallback!r}.")
    return tuple(_named(name, "fallback") for name in given)


def check_told_apart(models: Sequence[str]) -> None:
    """Refuse a model that is named twice, however it is written.

    Raises:
        OptionError: one is.
    """
    if twice := [name for name in models if models.count(name) > 1]:
        raise OptionError(f"{twice[0]} is named twice, and its answers would be the same ones. Name it once.")


def _named(name: object, option: str = "model") -> str:
    if not isinstance(name, str) or not name:
        raise OptionError(f"{option}= names models as 'provider/model'; found {name!r}.")
    return name


def _told_apart(names: Sequence[str]) -> list[str]:
    own = [_column(re.split("[/:]", name, maxsplit=1)[-1]) for name in names]
    made: list[str] = []
    for name, short in zip(names, own, strict=True):
        alias = plain = _column(name) if own.count(short) > 1 else short
        number = 1
        while alias in made:
            number += 1
            alias = f"{plain}_{number}"
        made.append(alias)
    return made


def _column(name: str) -> str:
    return _ODD.sub("_", name).strip("_") or "model"
