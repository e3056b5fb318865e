"""Where questions go: the URL, checked, with its headers and the key in them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from multidict import CIMultiDict
from yarl import URL

from dfllm._core.errors import OptionError
from dfllm._run.secret import Secret, Veiled

#: What every request says, unless its own headers say otherwise.
COMMON_HEADERS: Final = {
    "User-Agent": "dfllm",
    "Accept": "application/json",
    "Content-Type": "application/json",
}

#: What we unpack ourselves, under limits, and nothing else.
ACCEPT_ENCODING: Final = "gzip"

_UNFIT: Final = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True, repr=False)
class Route:
    """One place to post questions to, made once a run.

    The key is bound to the URL's host here: whoever has a Route can send it nowhere else.

    Attributes:
        url: https, or http on this machine.
        headers: all of them, the key's included; never shown.
    """

    url: URL
    headers: CIMultiDict[str]

    def __repr__(self) -> str:
        # The query may hold a key as well.
        return f"Route({self.url.with_query(None)}, headers=***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Route cannot be pickled, since it holds the API key.")


def route(url: str, headers: Mapping[str, str], secret: Secret | None) -> Route:
    """Return the place to post questions to.

    Args:
        url: the whole URL.
        headers: what to send beside the usual. ``{key}`` in a value stands for the key, as in
            ``{"x-api-key": "{key}"}``; without a key it is left out.
        secret: the API key; where no header has a place for it, it goes as ``Authorization: Bearer``.

    Raises:
        OptionError: the URL is neither https nor on this machine, or a header cannot be sent.
    """
    checked = _checked(url)
    whole = CIMultiDict({**COMMON_HEADERS, "Accept-Encoding": ACCEPT_ENCODING})
    placed = False
    for name, value in headers.items():
        if secret is not None and "{key}" in value:
            whole[name] = Veiled(value.replace("{key}", secret.reveal()))
            placed = True
        elif "{key}" not in value:
            whole[name] = value
    if secret is not None and not placed:
        whole["Authorization"] = Veiled(f"Bearer {secret.reveal()}")
    for name, value in whole.items():
        if _UNFIT.search(name + value):
            what = "The API key" if isinstance(value, Veiled) else f"The header {_UNFIT.sub('?', name)!r}"
            raise OptionError(
                f"{what} holds a character that no header can carry, such as a line break or a curly quote. "
                "Copy it again."
            )
    return Route(checked, whole)


def is_allowed(url: URL) -> bool:
    """Whether a request may go there: https anywhere, http on this machine only."""
    return bool(url.raw_host) and (url.scheme == "https" or (url.scheme == "http" and _is_here(url.host or "")))


def _checked(url: str) -> URL:
    try:
        parsed = URL(url)
        place = f"{parsed.scheme}://{parsed.host or ''}"
    except ValueError as error:
        raise OptionError("The provider's URL cannot be read; it looks like 'https://api.example.com/v1'.") from error
    if parsed.raw_user is not None or parsed.raw_password is not None:
        raise OptionError(f"The provider's URL {place} holds a user or password; give the key as the API key instead.")
    if parsed.scheme not in ("https", "http") or not parsed.raw_host:
        raise OptionError(
            f"The provider's URL starts with {place!r}; it must be a whole one, such as 'https://host/v1'."
        )
    if not is_allowed(parsed):
        raise OptionError(
            f"{place} is plain http to another machine: prompts and key would travel in clear. "
            "Use https, or a tunnel to this machine and its http://127.0.0.1 address."
        )
    return parsed.with_fragment(None)


def _is_here(host: str) -> bool:
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # 0.0.0.0 is no other machine either, and what OLLAMA_HOST often says.
    return address.is_loopback or address.is_unspecified
