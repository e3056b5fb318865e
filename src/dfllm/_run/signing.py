"""Signing: how requests to clouds say who asks, where that is no key that stays the same."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from dfllm._core.types import Failure
from dfllm._run import log
from dfllm._run.secret import Secret, Veiled, echoes
from dfllm._wire.status import cleaned

if TYPE_CHECKING:
    from dfllm._run.http import Answer
    from dfllm._run.http_route import Route

#: So long before a token ends its library is asked whether to fetch another.
_LAST_SECONDS = 240.0
#: Headers whose values prove who asks.
_PROOFS = frozenset({"authorization", "x-amz-security-token"})


class Signer(Protocol):
    """Puts the proof of who asks into requests; used on the private loop only."""

    async def signed(self, target: Route, body: bytes) -> Route | Failure:
        """Return the place to post this body to, or why nobody can be let in."""
        ...

    async def renewed(self, refused: Route, answer: Answer) -> bool:
        """Return whether it is worth asking once more after this answer; what had run out is new then."""
        ...

    def clean(self, body: bytes) -> bytes:
        """Return the body without what proves who asks, should a server repeat it."""
        ...


def signing(
    signer: Signer, target: Route, send: Callable[[Route, bytes], Awaitable[Answer | Failure]]
) -> Callable[[bytes], Awaitable[Answer | Failure]]:
    """Return what posts bodies to a place, each with its proof, and once more where that had run out."""

    async def post(body: bytes) -> Answer | Failure:
        route = await signer.signed(target, body)
        if isinstance(route, Failure):
            return route
        answer = await send(route, body)
        if isinstance(answer, Failure) or not await signer.renewed(route, answer):
            return answer
        again = await signer.signed(target, body)
        return again if isinstance(again, Failure) else await send(again, body)

    return post


def with_headers(target: Route, headers: Mapping[str, str]) -> Route:
    """Return the same place with more headers, those that prove who asks veiled."""
    from dfllm._run.http_route import Route

    whole = target.headers.copy()
    for name, value in headers.items():
        whole[name] = Veiled(value) if name.lower() in _PROOFS else value
    return Route(target.url, whole)


class Tokens:
    """Google's access tokens: one for all requests of an hour, and a new one before it ends.

    Args:
        credentials: of `google-auth`.
        fetch: what its requests for tokens go through.
        clock: seconds that only go up.
    """

    def __init__(self, credentials: Any, fetch: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._credentials = credentials
        self._fetch = fetch
        self._clock = clock
        self._fresh_until = 0.0
        self._routes: dict[str, Route] = {}
        self._renewing: asyncio.Task[Failure | None] | None = None
        self._clean = echoes(None)

    async def signed(self, target: Route, body: bytes) -> Route | Failure:
        """Return the place with the token of now; the same for every body until there is another."""
        if self._clock() >= self._fresh_until:
            failure = await self._freshen()
            if failure is not None:
                return failure
        route = self._routes.get(str(target.url))
        if route is None:
            headers: dict[str, str] = {}
            self._credentials.apply(headers)  # the token, and which project pays for the quota
            route = self._routes[str(target.url)] = with_headers(target, headers)
        return route

    async def renewed(self, refused: Route, answer: Answer) -> bool:
        """Return whether there is another token after a 401: one is fetched, however many rows ask for it."""
        if answer.status != 401:
            return False
        if refused is self._routes.get(str(refused.url)):
            return await self._renewal() is None
        return True  # another row saw to it meanwhile

    def clean(self, body: bytes) -> bytes:
        """Return the body without the token."""
        return self._clean(body)

    async def _freshen(self) -> Failure | None:
        """Fetch a token where there is none that is valid; where one is valid and soon will not be, only begin to."""
        from google.auth.credentials import TokenState

        state = self._credentials.token_state
        if state == TokenState.INVALID:
            return await self._renewal()
        if state == TokenState.STALE:
            self._begin()
        elif not self._routes:
            self._take()
        return None

    def _renewal(self) -> asyncio.Future[Failure | None]:
        """Return the one renewal under way, begun now if there is none. Who no longer waits for it does not end it."""
        return asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[Failure | None]:
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.get_running_loop().create_task(self._renew())
        return self._renewing

    async def _renew(self) -> Failure | None:
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            await asyncio.to_thread(self._credentials.refresh, self._fetch)
        except GoogleAuthError as error:
            said = cleaned(log.hidden(str(error.args[0] if error.args else type(error).__name__)))
            if error.retryable or isinstance(error, TransportError):
                return Failure("ConnectFailed", f"no access token from Google: {said}", "free")
            return Failure("AuthFailed", f"no access token from Google: {said}", "free")
        self._take()
        return None

    def _take(self) -> None:
        """Use the token that the credentials have now."""
        token, expiry = Secret(str(self._credentials.token)), self._credentials.expiry
        log.hide(token)
        self._routes.clear()
        self._clean = echoes(token)
        left = (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds() if expiry is not None else math.inf
        self._fresh_until = self._clock() + left - _LAST_SECONDS


class Signatures:
    """AWS's signatures, version 4: one for each body, by botocore's own signer.

    Args:
        credentials: of `botocore`; temporary ones are renewed by it.
        region: whose endpoint is asked.
    """

    def __init__(self, credentials: Any, region: str) -> None:
        self._credentials = credentials
        self._region = region
        self._frozen: Any = None
        self._auth: Any = None
        self._clean = echoes(None)
        # What it signs, and writes down where somebody debugs, holds the session's token.
        logging.getLogger("botocore.auth").addFilter(log.Scrubbing())

    async def signed(self, target: Route, body: bytes) -> Route | Failure:
        """Return the place with the signature of this body."""
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        needs = getattr(self._credentials, "refresh_needed", None)
        try:
            if needs is not None and needs():
                await asyncio.to_thread(self._credentials.get_frozen_credentials)
            frozen = self._credentials.get_frozen_credentials()
        except BotoCoreError as error:
            return Failure("AuthFailed", f"no AWS credentials: {cleaned(log.hidden(str(error)))}", "free")
        if frozen != self._frozen:
            self._take(frozen)
        request = AWSRequest("POST", str(target.url), data=body, headers={"Content-Type": "application/json"})
        self._auth.add_auth(request)
        return with_headers(target, dict(request.headers.items()))

    async def renewed(self, refused: Route, answer: Answer) -> bool:
        """Return False: botocore renews by the clock, and a signature that was refused would be again."""
        return False

    def clean(self, body: bytes) -> bytes:
        """Return the body without the session's token, which a refusal may repeat; the secret itself is never sent."""
        return self._clean(body)

    def _take(self, frozen: Any) -> None:
        from botocore.auth import SigV4Auth

        for text in (frozen.secret_key, frozen.token):
            log.hide(Secret(text) if text else None)
        self._frozen = frozen
        self._auth = SigV4Auth(frozen, "bedrock", self._region)
        self._clean = echoes(Secret(frozen.token) if frozen.token else None)
