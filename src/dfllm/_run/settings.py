"""Settings: how answers are got, never what they are. Argument > `options` > `configure` > ``DFLLM_*`` > default."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import platformdirs

from dfllm._core.budget import Budget
from dfllm._core.charges import Rule
from dfllm._core.errors import KeyMissing, OptionError, listed, near
from dfllm._run.clouds import signer_of, variable
from dfllm._run.prices import checked_prices
from dfllm._run.secret import Secret, Veiled
from dfllm._run.signing import Signer
from dfllm._wire.providers import PROVIDERS, Provider, Window, rule_at


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard a provider may be asked.

    What is None is found out: limits from the headers of answers, else by trying; how many requests may be in flight
    from the rate and from how long answers take. The processes of a host share one limit. Where other hosts use it as
    well, give each its `share`.

    Attributes:
        concurrency: the most requests in flight at once; None is as many as the limits have a use for, and 100 where
            there are none.
        rpm: requests per minute.
        tpm: tokens per minute, as the provider counts them; input only, where output has a limit of its own.
        share: how much of any limit may be used, above 0 and up to 1; None is all.

    Raises:
        OptionError: a value does not fit.

    Example:
        >>> import dfllm
        >>> half = dfllm.Limits(rpm=500, tpm=200_000, share=0.5)
    """

    concurrency: int | None = None
    _: KW_ONLY
    rpm: float | None = None
    tpm: float | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        given: object = self.concurrency
        if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 1):
            raise OptionError(f"Limits(concurrency=) takes a whole number from 1 on; found {given!r}.")
        for name, most, wants in (
            ("rpm", math.inf, "a number above 0"),
            ("tpm", math.inf, "a number above 0"),
            ("share", 1.0, "a number above 0 and up to 1"),
        ):
            value: object = getattr(self, name)
            if value is None:
                continue
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not 0 < value <= most or value == math.inf:  # type: ignore[operator]  # a number, as just seen
                raise OptionError(f"Limits({name}=) takes {wants}; found {value!r}.")


@dataclass(frozen=True, slots=True)
class Settings:
    """How answers are got.

    Attributes:
        model: the model where a call names none.
        store: the store's file, or the folder it is kept in.
        limits: how hard a provider may be asked.
        timeout: seconds an answer may take, from the first byte sent to the last one read.
        progress: whether a progress bar is drawn; None draws it where somebody can see it.
        patience: seconds to go on waiting for a provider that answers nothing but "later".
        resend_ambiguous: how often a request is sent again that may have been billed without an answer.
        repair_attempts: how often a paid request asks for a better answer where one does not fit its schema.
        budget: what may be spent at most; a number is in USD and for each call.
        prices: what models cost, in USD per million tokens, where you know better than the price data.
        fetch_images: whether the https URLs of image columns are fetched here and sent as bytes, from public addresses
            only; else they are passed on and the provider fetches them.
        fetch_files: the same of files.
        durability: ``"full"`` survives a loss of power, ``"normal"`` all but its last moments.
        prompt_caching: ``"auto"`` tells a provider which prefix to look for, where it has a field for that; ``"off"``
            does not.
        service_tier: how soon and at which price to answer, in the provider's word, such as ``"flex"``.
    """

    model: str | None = None
    store: Path | None = None
    limits: Limits = Limits()
    timeout: float = 600.0
    progress: bool | None = None
    patience: float = 7200.0
    resend_ambiguous: int = 1
    repair_attempts: int = 1
    budget: Budget | None = None
    prices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    fetch_images: bool = False
    fetch_files: bool = False
    durability: Literal["normal", "full"] = "normal"
    prompt_caching: Literal["auto", "off"] = "auto"
    service_tier: str | None = None

    @property
    def store_path(self) -> Path:
        """The store's file."""
        if self.store is None:
            return Path(platformdirs.user_data_dir("dfllm", appauthor=False)) / "answers.db"
        place = self.store.expanduser()
        return place / "answers.db" if place.is_dir() or not place.suffix else place


_NAMES = [one.name for one in fields(Settings)]
_configured: dict[str, Any] = {}
_registered: dict[str, Provider] = {}
_optioned: ContextVar[Mapping[str, Any]] = ContextVar("dfllm_options", default={})  # noqa: B039  # never changed in place


def configure(**settings: Any) -> None:
    """Set defaults for every later call of this process; None takes one back.

    Args:
        **settings: any of ``model``, ``store``, ``limits``, ``timeout``, ``progress``, ``patience``,
            ``resend_ambiguous``, ``repair_attempts``, ``budget``, ``prices``,
            ``fetch_images``, ``fetch_files``, ``durability``, ``prompt_caching``, ``service_tier``.

    Raises:
        OptionError: no setting of that name, or a value it cannot have. Nothing was set.

    Example:
        >>> import dfllm
        >>> dfllm.configure(model="simulator/small", limits=dfllm.Limits(concurrency=20))
        >>> dfllm.configure(model=None, limits=None)
    """
    checked = {name: _checked(name, value) for name, value in settings.items()}
    for name, value in checked.items():
        if value is None:
            _configured.pop(name, None)
        else:
            _configured[name] = value


@contextmanager
def options(**settings: Any) -> Iterator[None]:
    """Set defaults for the calls within a ``with`` block, in this thread or task only.

    Args:
        **settings: as `configure` takes them.

    Raises:
        OptionError: no setting of that name, or a value it cannot have.

    Example:
        >>> import dfllm
        >>> with dfllm.options(model="simulator/echo"):
        ...     pass
    """
    checked = {name: _checked(name, value) for name, value in settings.items() if value is not None}
    token = _optioned.set({**_optioned.get(), **checked})
    try:
        yield
    finally:
        _optioned.reset(token)


def current(**arguments: Any) -> Settings:
    """Return the settings in force, with a call's own arguments (None where it has none) on top."""
    environment = {
        name: _from_text(name, text)
        for name in ("model", "store", "timeout", "progress")
        if (text := os.environ.get(f"DFLLM_{name.upper()}", ""))
    }
    limits = {
        name: _number(f"DFLLM_{name.upper()}", text, kind)
        for name, kind in (("concurrency", int), ("rpm", float), ("tpm", float))
        if (text := os.environ.get(f"DFLLM_{name.upper()}", ""))
    }
    if limits:
        environment["limits"] = Limits(**limits)
    given = {name: _checked(name, value) for name, value in arguments.items() if value is not None}
    return replace(Settings(), **{**environment, **_configured, **_optioned.get(), **given})


def _number(name: str, text: str, kind: type[Any]) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise OptionError(f"{name} takes a number; found {text!r}.") from None


def _from_text(name: str, text: str) -> Any:
    if name == "timeout":
        return _checked(name, _number("DFLLM_TIMEOUT", text, float))
    if name == "progress":
        return text.lower() not in ("0", "false", "no", "off")
    return _checked(name, text)


def _checked(name: str, value: Any) -> Any:
    """Return the value as Settings holds it, or say why it cannot."""
    if name not in _NAMES:
        raise OptionError(f"No setting is called {name!r}.{near(name, _NAMES)} There are {listed(_NAMES)}.")
    if value is None:
        return None
    if name == "store" and isinstance(value, (str, os.PathLike)):
        if str(value) in ("", ":memory:"):
            raise OptionError(f"store={str(value)!r} is no path; it takes a file, or a folder to keep the store in.")
        return Path(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name == "budget" and number:
        return Budget(value)
    if name == "prices":
        return checked_prices(value)
    fits = {
        "model": isinstance(value, str) and bool(value),
        "limits": isinstance(value, Limits),
        "timeout": number and 0 < value < float("inf"),
        "progress": isinstance(value, bool),
        "fetch_images": isinstance(value, bool),
        "fetch_files": isinstance(value, bool),
        "patience": number and value >= 0,
        "resend_ambiguous": isinstance(value, int) and not isinstance(value, bool) and value >= 0,
        "repair_attempts": isinstance(value, int) and not isinstance(value, bool) and value >= 0,
        "budget": isinstance(value, Budget),
        "durability": value in ("normal", "full"),
        "prompt_caching": value in ("auto", "off"),
        "service_tier": isinstance(value, str) and bool(value),
    }
    if not fits.get(name, False):
        wants = {
            "limits": "dfllm.Limits(...)",
            "budget": "USD, or dfllm.Budget(...)",
            "durability": "'normal' or 'full'",
            "timeout": "seconds above 0",
            "prompt_caching": "'auto' or 'off', since no known provider lets one say for how long",
        }
        raise OptionError(f"{name}={value!r} does not fit; it takes {wants.get(name, 'a ' + _kind_of(name))}.")
    return value


def _kind_of(name: str) -> str:
    kinds = {"model": "text such as 'openai/gpt-mini'", "store": "path", "service_tier": "word"}
    return kinds.get(name, "bool" if name in ("progress", "fetch_images", "fetch_files") else "number")


class Endpoint(NamedTuple):
    """Where a provider is, and the key it wants.

    Attributes:
        base_url: without a trailing slash.
        secret: the API key, or None.
        charges: what its rate limits count.
        requests_per: the window of the limit of requests that its headers state.
        signer: what proves who asks, where that is no key.
    """

    base_url: str
    secret: Secret | None
    charges: Rule = "none"
    requests_per: Window = "minute"
    signer: Signer | None = None


def providers() -> Mapping[str, Provider]:
    """Return the known providers by name, the user's own included."""
    return {**PROVIDERS, **_registered}


_KEYS_THAT_ARE_SENT = {"google": 0, "aws": 1}


def endpoint_of(provider: Provider, settings: Settings, *, needs_key: bool = True) -> Endpoint:
    """Return where the provider is and the key it wants, read from the environment now.

    Raises:
        KeyMissing: it wants a key, one is needed, and no variable holds one.
        OptionError: a variable holds a base URL without a scheme, or one with a user, a password or a query.
    """
    found: str = Veiled(variable(provider.url_names))
    check_bare(found, " or ".join(provider.url_names))
    found = str(found)
    if found and "://" not in found:
        if provider.name != "ollama":
            raise OptionError(f"{' or '.join(provider.url_names)} names no scheme; write https://{found}")
        found = f"http://{found}"  # OLLAMA_HOST may be a bare host and port
    base_url = found.rstrip("/") + (provider.url_suffix if found and not found.endswith(provider.url_suffix) else "")
    if provider.name == "simulator" and not found:
        base_url = _simulator_url(settings.store_path.with_name("simulator-bill.db"))
    # What the variables of some clouds hold is no key but a file's name, or half of one.
    secret = Secret(variable(provider.key_names[: _KEYS_THAT_ARE_SENT.get(provider.signs)]))
    signer = signer_of(provider) if provider.signs and needs_key and not secret else None
    if provider.needs_key and needs_key and not secret and signer is None:
        raise KeyMissing(
            f"{provider.name} wants an API key and {' or '.join(provider.key_names)} is not set. "
            f"Set it in the environment before calling. (model='simulator/small' needs none.)"
        )
    base_url = base_url or provider.base_url
    if not base_url:
        raise OptionError(f"{provider.name} is at no one place and {' or '.join(provider.url_names)} is not set.")
    return Endpoint(base_url, secret or None, rule_at(provider, base_url), provider.requests_per, signer)


def check_bare(url: str, named: str) -> None:
    """Refuse what may be a key in a base URL, which is kept and shown; the message repeats none of it."""
    if not _is_bare(url):
        raise OptionError(
            f"The provider's URL in {named} holds a user, a password or a query. A base URL is a scheme, a host and a "
            f"path, as in 'https://host/v1'; a key goes into the variable that api_key_env= names."
        )


def _is_bare(url: str) -> bool:
    # A frame of its own, since it is gone when the error is raised, and its parts of the URL with it.
    place = url.partition("://")[2] if "://" in url else url
    return "@" not in place.partition("/")[0] and not {"?", "#"} & set(url)


_simulators: dict[tuple[int, Path], Any] = {}


def _simulator_url(bill: Path) -> str:
    """Return the base URL of this process's simulator, started now if it is not running; it ends with the process."""
    place = (os.getpid(), bill)
    if place not in _simulators:
        from dfllm.simulator import Simulator  # only those who ask for it pay for its import

        bill.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        simulator = Simulator(latency_seconds=0.05, latency_spread=0.5, bill_path=bill)
        simulator.start()
        _simulators[place] = simulator
    return str(_simulators[place].base_url)
