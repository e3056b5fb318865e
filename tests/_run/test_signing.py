"""Signing: one token for all requests until another is due, and a signature for each body."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from dfllm._core.types import Failure
from dfllm._run.http import Answer, route
from dfllm._run.signing import Signatures, Tokens, signing

oauth2 = pytest.importorskip("google.oauth2.credentials")
errors = pytest.importorskip("google.auth.exceptions")
PLACE = "https://europe-west4-aiplatform.googleapis.com/v1/x:generateContent"


def from_now(seconds):
    """Return a moment as google-auth writes it: in UTC, and without saying so."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).replace(tzinfo=None)


def credentials(*given, token=None, expiry=None, **more):
    """Return credentials that give out these tokens with their seconds, or raise what is given instead."""
    coming = iter(given)

    def refresh(request, scopes):
        found = next(coming)
        if isinstance(found, Exception):
            raise found
        return found[0], from_now(found[1])

    return oauth2.Credentials(token=token, expiry=expiry, refresh_handler=refresh, scopes=["x"], **more)


def target():
    """Return where everything here goes."""
    return route(PLACE, {}, None)


def bearer(signed):
    """Return the token in a route."""
    return str(signed.headers["Authorization"])


async def places_of(tokens, times=1):
    """Return the places of so many requests."""
    return [await tokens.signed(target(), b"{}") for _ in range(times)]


def test_one_route_serves_until_the_token_ends():
    """The header is made once, not for each row."""
    tokens = Tokens(credentials(("one", 3600)), None)

    first, second = asyncio.run(places_of(tokens, 2))

    assert first is second
    assert "Bearer one" == bearer(first)
    assert "one" not in repr(first.headers)


def test_a_token_that_is_there_is_used_as_it_is():
    """Nobody is asked for another, and it may have no end."""
    (signed,) = asyncio.run(places_of(Tokens(credentials(token="static"), None)))

    assert "Bearer static" == bearer(signed)


def test_the_project_that_pays_for_the_quota_is_named():
    """As the credentials have it."""
    (signed,) = asyncio.run(places_of(Tokens(credentials(token="static", quota_project_id="payer"), None)))

    assert "payer" == signed.headers["x-goog-user-project"]


def test_a_token_near_its_end_is_renewed_while_rows_go_on_with_it():
    """The row that sees it does not wait; a later one has the new token."""

    async def two():
        tokens = Tokens(credentials(("new", 3600), token="old", expiry=from_now(100)), None)
        first = await tokens.signed(target(), b"{}")
        await tokens._renewing
        return first, await tokens.signed(target(), b"{}")

    first, second = asyncio.run(two())

    assert ("Bearer old", "Bearer new") == (bearer(first), bearer(second))


def test_many_rows_without_a_token_fetch_one():
    """The second of these tokens is never asked for."""

    async def many():
        tokens = Tokens(credentials(("one", 3600), ("two", 3600)), None)
        return await asyncio.gather(*(tokens.signed(target(), b"{}") for _ in range(20)))

    assert {"Bearer one"} == {bearer(signed) for signed in asyncio.run(many())}


def test_a_row_that_gives_up_does_not_end_the_fetching():
    """Others wait for the same token."""

    async def one_gives_up():
        tokens = Tokens(credentials(("one", 3600)), None)
        waiting = asyncio.ensure_future(tokens.signed(target(), b"{}"))
        other = asyncio.ensure_future(tokens.signed(target(), b"{}"))
        await asyncio.sleep(0)
        waiting.cancel()
        return await other

    assert "Bearer one" == bearer(asyncio.run(one_gives_up()))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.RefreshError("invalid_grant: Account has been deleted.", {"error": "invalid_grant"}), "AuthFailed"),
        (errors.RefreshError("Try later.", retryable=True), "ConnectFailed"),
        (errors.TransportError("ConnectTimeout"), "ConnectFailed"),
    ],
    ids=["refused", "later", "unreachable"],
)
def test_no_token_is_a_failure_that_is_free(error, kind):
    """What may pass is tried again by those who try again; the rest stops the call."""
    (failure,) = asyncio.run(places_of(Tokens(credentials(error), None)))

    assert (kind, "free") == (failure.type, failure.billing)
    assert str(error.args[0]) in failure.reason


def answered(status, headers=None, body=b"{}"):
    """Return what a server says."""
    return Answer(status, headers or {}, body)


def play(tokens, *answers):
    """Return what comes of one body, and the tokens it was sent with."""
    coming = iter(answers)
    sent = []

    async def send(place, body):
        sent.append(bearer(place))
        return next(coming)

    return asyncio.run(signing(tokens, target(), send)(b"{}")), sent


def test_a_refused_token_is_renewed_once():
    """And the row is asked with the new one."""
    answer, sent = play(Tokens(credentials(("new", 3600), token="old"), None), answered(401), answered(200))

    assert (200, ["Bearer old", "Bearer new"]) == (answer.status, sent)


def test_a_new_token_that_is_refused_too_is_the_rows_end():
    """There is no third request."""
    answer, sent = play(
        Tokens(credentials(("new", 3600), ("newer", 3600), token="old"), None), answered(401), answered(401)
    )

    assert (401, 2) == (answer.status, len(sent))


@pytest.mark.parametrize("status", [200, 403, 429, 500])
def test_other_answers_are_the_rows_own(status):
    """Only a 401 says that a token has run out."""
    answer, sent = play(Tokens(credentials(token="old"), None), answered(status))

    assert (status, 1) == (answer.status, len(sent))


def test_a_lost_connection_is_no_refusal():
    """A failure is handed on as it is."""
    lost = Failure("ConnectionLost", "no answer came", "maybe")

    assert (lost, ["Bearer old"]) == play(Tokens(credentials(token="old"), None), lost)


def test_a_token_that_a_server_repeats_is_taken_out():
    """Before anyone keeps the body."""
    tokens = Tokens(credentials(token="ya29.a-token-of-some-length"), None)
    asyncio.run(places_of(tokens))

    assert b"{no ***}" == tokens.clean(b"{no ya29.a-token-of-some-length}")


def signed_by_aws(body, token=None):
    """Return the headers of a body's signature."""
    keys = pytest.importorskip("botocore.credentials")
    signer = Signatures(keys.Credentials("AKIDEXAMPLE", "secret-key-of-the-test", token), "eu-central-1")
    place = route("https://bedrock-runtime.eu-central-1.amazonaws.com/model/m/converse", {}, None)
    return asyncio.run(signer.signed(place, body)).headers, signer


def test_each_body_has_its_own_signature():
    """Within the region and the service, and what else the route has stays."""
    (one, _), (other, _) = (signed_by_aws(body) for body in (b"{}", b"[]"))

    assert "/eu-central-1/bedrock/aws4_request" in str(one["Authorization"])
    assert str(one["Authorization"]) != str(other["Authorization"])
    assert "application/json" == one["Content-Type"] == one["Accept"]


def test_a_sessions_token_goes_along_veiled():
    """And is taken out of what a server repeats."""
    headers, signer = signed_by_aws(b"{}", "a-session-token-of-some-length")

    assert "a-session-token-of-some-length" == str(headers["X-Amz-Security-Token"])
    assert "session-token" not in repr(headers)
    assert b"no ***" == signer.clean(b"no a-session-token-of-some-length")


def test_temporary_credentials_are_renewed_by_their_library():
    """Which says when that is due."""
    keys = pytest.importorskip("botocore.credentials")

    def fetched():
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        return {"access_key": "AKIDNEW", "secret_key": "new-secret-key", "token": "new", "expiry_time": until}

    old = datetime.now(UTC) - timedelta(minutes=1)
    temporary = keys.RefreshableCredentials("AKIDOLD", "old-secret-key", "old", old, fetched, "test")
    signer = Signatures(temporary, "eu-central-1")

    signed = asyncio.run(signer.signed(target(), b"{}"))

    assert "Credential=AKIDNEW/" in str(signed.headers["Authorization"])


def test_credentials_that_cannot_be_renewed_are_a_failure():
    """It is free, and stops the call."""
    keys = pytest.importorskip("botocore.credentials")
    old = datetime.now(UTC) - timedelta(minutes=1)
    temporary = keys.RefreshableCredentials("AKIDOLD", "old-secret-key", "old", old, dict, "test")

    failure = asyncio.run(Signatures(temporary, "eu-central-1").signed(target(), b"{}"))

    assert ("AuthFailed", "free") == (failure.type, failure.billing)
    assert failure.reason.startswith("no AWS credentials: ")
