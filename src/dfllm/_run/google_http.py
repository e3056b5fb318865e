"""Google's requests for access tokens, over httpx: its library brings none of its own that we have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx

_SECONDS = 30.0


class Fetched(NamedTuple):
    """An answer, with the names that `google-auth` reads."""

    status: int
    headers: Mapping[str, str]
    data: bytes


def fetcher(base: type) -> Any:
    """Return what `google-auth` calls to send a request; its interface is handed in, since the library is an extra."""

    def fetch(
        self: object,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **more: object,
    ) -> Fetched:
        from google.auth.exceptions import TransportError

        try:
            # As everywhere: no redirect is followed with a secret, and no proxy or netrc is read.
            with httpx.Client(timeout=timeout or _SECONDS, follow_redirects=False, trust_env=False) as client:
                answer = client.request(method, url, content=body, headers=dict(headers or {}))
        except httpx.HTTPError as error:
            # What it says may quote the request.
            raise TransportError(type(error).__name__) from None  # type: ignore[no-untyped-call]  # untyped there
        return Fetched(answer.status_code, answer.headers, answer.content)

    return type("Fetch", (base,), {"__call__": fetch})()
