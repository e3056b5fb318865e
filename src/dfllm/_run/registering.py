"""Registering: a provider of the user's own, for the running process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from dfllm._core.charges import Rule
from dfllm._core.errors import OptionError, listed
from dfllm._run import settings
from dfllm._run.secret import Veiled
from dfllm._wire.dialects import DIALECTS
from dfllm._wire.providers import OWN_EMBEDS, PROVIDERS, Provider, Window


def register_provider(
    name: str,
    *,
    base_url: str,
    dialect: str = "openai",
    api_key_env: str | None = None,
    max_tokens_field: str = "max_tokens",
    seed_field: str = "seed",
    schema_form: Literal["json_schema", "json_object"] = "json_schema",
    charges: Rule | None = None,
    requests_per: Window = "minute",
    service_tiers: Sequence[str] = (),
    identity: str | None = None,
    schema_by_tool: bool = False,
) -> None:
    """Make a provider known that speaks a known dialect, such as any server compatible with OpenAI.

    Answers are kept under the name and the base URL: two servers never share any, unless `identity` says that they are
    the same.

    Args:
        name: what stands before the slash in ``model=``.
        base_url: where it is, up to and without the dialect's own path.
        dialect: the wire format: ``"openai"`` (``/chat/completions``), ``"openai-responses"`` (``/responses``),
            ``"anthropic"`` (``/v1/messages``), ``"gemini"`` (``/v1/models/...:generateContent``), ``"converse"``
            (``/model/.../converse``), ``"vertex-gemini"`` or ``"vertex-claude"`` (``/publishers/...``).
        api_key_env: the environment variable that holds its API key; None where it wants none.
        max_tokens_field: what it calls the limit of output tokens; for the dialect ``"openai"``.
        seed_field: what it calls the seed; for the dialect ``"openai"``.
        schema_form: ``"json_object"`` for a server that knows no more than that an answer is JSON: the schema goes into
            the instructions then. For the dialect ``"openai"``.
        charges: what its rate limits count: ``"openai"`` (input and reserved output), ``"anthropic"`` (input and output
            apart), ``"gemini"`` (input) or ``"none"``; None is what others of its dialect count.
        requests_per: ``"day"`` where the limit of requests that its headers state is one per day.
        service_tiers: what it may be asked for as the setting ``service_tier``.
        identity: what its answers are kept under beside its name, in place of the base URL, for a server that moves.
        schema_by_tool: whether `schema=` is asked for by a tool that must be called, its arguments being the answer:
            for models and gateways that speak Anthropic's dialect without its ``output_config.format``.

    Raises:
        OptionError: the name is taken by a built-in provider or cannot be one, the dialect is unknown, an option does
            not fit it, or the base URL has a user, a password or a query in it.

    Example:
        >>> import dfllm
        >>> dfllm.register_provider("lab", base_url="http://127.0.0.1:9000/v1")
    """
    base_url = Veiled(base_url)  # until it is known to hold no password
    _check_address(base_url)
    if name in PROVIDERS:
        raise OptionError(f"{name!r} is a built-in provider; its own variables move it, see dfllm's docs.")
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise OptionError(f"A provider's name has letters, digits, - and _ only; found {name!r}.")
    if dialect not in DIALECTS:
        raise OptionError(f"No dialect is called {dialect!r}; there are {listed(sorted(DIALECTS))}.")
    for option, value, usual in (
        ("max_tokens_field", max_tokens_field, "max_tokens"),
        ("seed_field", seed_field, "seed"),
        ("schema_form", schema_form, "json_schema"),
    ):
        if value != usual and dialect != "openai":
            raise OptionError(f"{option} is for the dialect 'openai'; {dialect!r} has one name for it.")
    for option, chosen, known in (
        ("schema_form", schema_form, ("json_schema", "json_object")),
        ("charges", charges or "none", get_args(Rule)),
        ("requests_per", requests_per, get_args(Window)),
    ):
        if chosen not in known:
            raise OptionError(f"{option} is one of {listed(known)}; found {chosen!r}.")
    if schema_by_tool and DIALECTS[dialect].response_tool is None:
        raise OptionError(f"schema_by_tool is for the dialect 'anthropic'; {dialect!r} has no such way.")
    if isinstance(service_tiers, str) or not all(service_tiers):
        raise OptionError(f"service_tiers takes a list of words; found {service_tiers!r}.")
    if identity is not None and (not identity or identity != identity.strip() or "://" in identity):
        raise OptionError(f"identity takes a word of your own, which is no URL; found {identity!r}.")
    settings._registered[name] = Provider(
        name,
        dialect,
        str(base_url).rstrip("/"),
        key_names=(api_key_env,) if api_key_env else (),
        needs_key=api_key_env is not None,
        max_tokens_field=max_tokens_field,
        seed_field=seed_field,
        schema_form=schema_form,
        charges=charges or DIALECTS[dialect].charges,
        built_in=False,
        requests_per=requests_per,
        service_tiers=tuple(service_tiers),
        identity=identity or "",
        schema_by_tool=schema_by_tool,
        embeds=OWN_EMBEDS.get(dialect),
    )


def _check_address(base_url: str) -> None:
    settings.check_bare(base_url, "base_url")
    scheme, _, rest = base_url.partition("://")
    if scheme.lower() not in ("http", "https") or not rest.partition("/")[0]:
        raise OptionError("base_url is a whole address, as in 'https://host/v1' or 'http://127.0.0.1:8000/v1'.")
