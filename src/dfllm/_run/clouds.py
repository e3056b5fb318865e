"""Clouds: where a provider is that is at many places, and whose credentials open it, read from what their tools leave.

The libraries are their vendors' own and extras: only those who ask a cloud need them.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from dfllm._core.errors import KeyMissing, OptionError
from dfllm._run.secret import Secret
from dfllm._run.signing import Signatures, Signer, Tokens
from dfllm._wire.providers import Provider, placed

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
#: Those of some companies have their domain before them.
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,127}")

_lock = threading.Lock()
_signers: dict[tuple[int, str, str, Secret], Signer] = {}


def variable(names: Sequence[str]) -> str:
    """Return what the first of these variables holds that holds anything; ``"=word"`` holds the word."""
    for name in names:
        if text := name[1:] if name.startswith("=") else os.environ.get(name, "").strip():
            return text
    return ""


def located(provider: Provider, *, needed: bool = True) -> Provider:
    """Return the provider's row at the place that its variables name.

    Args:
        provider: any; one that is at one place is returned as it is.
        needed: whether anything will be sent there.

    Raises:
        OptionError: no variable names the place, or what one holds is none.
    """
    words: dict[str, str] = {}
    for word, names in provider.places:
        text = variable(names)
        told = " or ".join(name for name in names if not name.startswith("="))
        if not text and needed:
            raise OptionError(f"{provider.name} is at no one place and {told} is not set: which {word} is it?")
        if text and not (_PROJECT if word == "project" else _PLACE).fullmatch(text):
            raise OptionError(f"{told} holds {text[:80]!r}, which is no {word}.")
        words[word] = text or f"-{word}-"
    return placed(provider, words) if words else provider


def signer_of(provider: Provider) -> Signer:
    """Return what signs requests to this provider: one for the process, until its tools leave other credentials.

    Raises:
        OptionError: the library for it is not installed.
        KeyMissing: there are no credentials.
    """
    make, prefixes, files = _SOURCES[provider.signs]
    region = variable(next((names for word, names in provider.places if word == "region"), ()))
    left = [f"{name}={text}" for name, text in sorted(os.environ.items()) if name.startswith(prefixes)]
    left += [f"{path} {_changed(path)}" for path in files()]
    # Kept as a secret, since some of these variables hold one.
    what = os.getpid(), provider.signs, region, Secret("\n".join(left))
    with _lock:
        if what not in _signers:
            _signers[what] = make(provider, region)
        return _signers[what]


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _google(provider: Provider, region: str) -> Signer:
    try:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        from google.auth.transport import Request
    except ImportError as error:
        raise OptionError(
            f"{provider.name} needs google-auth, which is not installed: pip install 'dfllm[vertex]'."
        ) from error
    from dfllm._run.google_http import fetcher

    fetch = fetcher(Request)
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE], request=fetch)
    except DefaultCredentialsError as error:
        raise KeyMissing(
            f"{provider.name} wants Google's credentials and there are none. Run `gcloud auth application-default "
            f"login`, or set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account."
        ) from error
    except GoogleAuthError as error:
        raise KeyMissing(f"{provider.name} wants Google's credentials and they cannot be read.") from error
    return Tokens(credentials, fetch)


def _google_files() -> list[Path]:
    home = Path(os.environ.get("CLOUDSDK_CONFIG", "~/.config/gcloud")).expanduser()
    own = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    return [home / "application_default_credentials.json", *([Path(own)] if own else [])]


def _aws(provider: Provider, region: str) -> Signer:
    try:
        import botocore.session
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise KeyMissing(
            f"{provider.name} wants an API key and AWS_BEARER_TOKEN_BEDROCK is not set. For AWS's other credentials it "
            f"needs botocore, which is not installed: pip install 'dfllm[bedrock]'."
        ) from error
    try:
        credentials = botocore.session.Session().get_credentials()
    except BotoCoreError as error:
        raise KeyMissing(f"{provider.name} wants AWS credentials and they cannot be read.") from error
    if credentials is None:
        raise KeyMissing(
            f"{provider.name} wants AWS credentials and there are none. Set AWS_BEARER_TOKEN_BEDROCK to an API key of "
            f"Bedrock, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure` or `aws sso login`."
        )
    return Signatures(credentials, region)


def _aws_files() -> list[Path]:
    names = ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config")
    return [Path(os.environ.get(name, usual)).expanduser() for name, usual in names]


_SOURCES: dict[str, tuple[Callable[[Provider, str], Signer], tuple[str, ...], Callable[[], list[Path]]]] = {
    "google": (_google, ("GOOGLE_", "CLOUDSDK_"), _google_files),
    "aws": (_aws, ("AWS_",), _aws_files),
}


def _forget() -> None:
    global _lock  # a thread of the parent may hold it for ever; what signs there is kept under another process
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
