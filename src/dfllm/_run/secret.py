"""Secrets: a value nobody prints by accident, and the scrubber that takes secrets out of texts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import re
import secrets as randomness
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NoReturn, final
from urllib.parse import quote, quote_plus

HIDDEN: Final = "***"

#: New in each process, so that the hash of a secret, seen in a dump, tells nothing about it.
_SALT: Final = randomness.token_bytes(16)

#: A known secret shorter than this is a word such as ``x`` or ``key``, and taking it out would eat the text.
_LEAST_CHARS: Final = 4

#: A key shorter than this may be a word such as ``ollama``, which an answer may hold for reasons of its own.
_LEAST_ECHO_CHARS: Final = 16


@final
class Secret:
    """An API key that shows itself to nobody but who asks with `reveal`.

    Example:
        >>> Secret("sk-1234")
        ***
    """

    __slots__ = ("__text",)

    __text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_Secret__text", text)

    def reveal(self) -> str:
        """Return the secret itself. The one way to it: search for this name to see who does."""
        return self.__text

    def __repr__(self) -> str:
        return HIDDEN

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return HIDDEN

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self.__text), _bytes(other.__text))

    def __hash__(self) -> int:
        digest = hashlib.blake2b(_bytes(self.__text), key=_SALT, digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("A Secret cannot be changed.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("A Secret cannot be changed.")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A Secret cannot be pickled; name the environment variable that holds it instead.")

    def __getstate__(self) -> NoReturn:
        # object has one from Python 3.11 on, and it hands out the slots.
        raise TypeError("A Secret has no state to show.")


class Veiled(str):
    """Text that goes over the wire as it is and shows as ``'***'`` wherever a value is displayed.

    For values which a foreign library keeps in its local variables, where a traceback with locals would print them.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN)


_PATTERNS: Final = tuple(
    re.compile(pattern, flags)
    for pattern, flags in (
        # What stands before the secret is kept as group 1. A provider's own masking (`sk-ab****wxyz`) goes as well:
        # the last letters of a key are not for a log either.
        (r"(\b(?:bearer|basic)\s+)(?!\*\*\*)[^\s\"',;<>]+", re.IGNORECASE),
        (r"((?:[?&;]|\b)(?:api[-_]?)?(?:key|token|sig|signature|secret|password)=)[^\s&\"'<>]+", re.IGNORECASE),
        (
            r"((?:api[-_ ]?key|access[-_ ]?token|x-goog-api-key|authorization|client[-_ ]?secret|password)"
            r"(?: provided)?(?:\\?[\"'])?\s*[:=]\s*(?:\\?[\"'])?)"
            r"(?!bearer\b|basic\b|\*\*\*)[^\s\"',;&<>\\]+",
            re.IGNORECASE,
        ),
        (r"(://)[^\s/@\"'<>]+(?=@)", 0),
        (r"()\b(?:sk|pk|rk|gsk|xai|pplx|csk|fw|nvapi|hf|r8|tgp|whsec)[-_][A-Za-z0-9_*.…-]*[A-Za-z0-9_*…-]{5}", 0),
        (r"()\bAIza[\w*-]{16,}", 0),
        (r"()\b(?:AKIA|ASIA)[A-Z0-9*]{12,}", 0),
        (r"()\bya29\.[\w*.-]{8,}", 0),
        (r"()\beyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?", 0),
    )
)


def scrub(text: str, secrets: Iterable[Secret] = ()) -> str:
    """Return the text without the secrets, and without whatever looks like one.

    Args:
        text: what is about to be shown, logged or kept.
        secrets: those known, taken out in every form that `without` knows.

    Example:
        >>> scrub("GET /v1?key=abc123 failed")
        'GET /v1?key=*** failed'
    """
    text = without(text, secrets)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text


def without(text: str, secrets: Iterable[Secret]) -> str:
    """Return the text without these secrets: as they are and URL-quoted, in base64 or hex, JSON- or HTML-escaped.

    Example:
        >>> without("the key abc123 and Bearer xyz", [Secret("abc123")])
        'the key *** and Bearer xyz'
    """
    for secret in secrets:
        for form in sorted(set(_forms(secret.reveal())), key=len, reverse=True):
            # URL escapes are written with large or small letters, and mixed.
            text = re.sub(re.sub("(%[0-9A-F]{2})", r"(?i:\1)", re.escape(form)), HIDDEN, text)
    return text


def echoes(secret: Secret | None) -> Callable[[bytes], bytes]:
    """Return the function that takes a key out of what its provider answers.

    Some servers quote the key that they refuse, and a body is kept. Short keys are left: they may be words.

    Example:
        >>> echoes(Secret("0123456789abcdef"))(b'{"error": "bad key 0123456789abcdef"}')
        b'{"error": "bad key ***"}'
    """
    if secret is None or len(secret.reveal()) < _LEAST_ECHO_CHARS:
        return lambda body: body
    written = {form.encode("utf-8", "surrogatepass") for form in _forms(secret.reveal())}
    lower = {re.sub(rb"%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in written}
    # Nearly no body holds any of them, and looking for one costs 0.1 us.
    forms = sorted(written | lower, key=len, reverse=True)

    def clean(body: bytes) -> bytes:
        for form in forms:
            if form in body:
                body = body.replace(form, HIDDEN.encode())
        return body

    return clean


def _forms(text: str) -> Iterator[str]:
    """Yield the ways a secret may be written in a text."""
    if len(text) < _LEAST_CHARS:
        return
    escaped = json.dumps(text)[1:-1]
    # Some servers put JSON into a text of JSON.
    twice = json.dumps(escaped)[1:-1]
    for form in (text, escaped, escaped.replace("/", "\\/"), json.dumps(text, ensure_ascii=False)[1:-1], twice):
        yield form
        yield html.escape(form)
    yield quote(text, safe="", errors="replace")
    yield quote(text, errors="replace")
    yield quote_plus(text, errors="replace")
    yield repr(text)[1:-1]
    yield _bytes(text).hex()
    yield _bytes(text).hex().upper()
    yield from _in_base64(_bytes(text))


def _in_base64(raw: bytes) -> Iterator[str]:
    """Yield what of the secret shows in the base64 of any text around it, such as ``user:secret``.

    Three bytes become four letters, so there are three ways to fall; the letters at either end are shared with the
    neighbours and left out.
    """
    for before in range(3):
        whole = before + len(raw)
        coded = base64.b64encode(b"\0" * before + raw)
        inner = coded[-(-before * 4 // 3) : whole * 4 // 3].decode()
        if len(inner) >= _LEAST_CHARS:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")


def _bytes(text: str) -> bytes:
    # A key read from a broken file may hold lone surrogates; they must not turn a comparison into an exception.
    return text.encode("utf-8", "surrogatepass")
